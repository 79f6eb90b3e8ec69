"""From the dataset tree to batches: index, backgrounds, crops, embeddings."""
