"""3D joints from the embedding, with the labels of few subjects.

INPUTS: {root}/index_{train,val}.h5, {root}/embeddings/{enc_dec.name}/S{subject}.{pkl,h5}
OUTPUTS: {root}/runs/{pose.name}/model_{steps}.pt
Steps: train_pose
"""


rule train_pose:
    input:
        config=RUN_CONFIG,
        index_train=PATHS.index("train"),
        index_val=PATHS.index("val"),
        embeddings=each(PATHS.embeddings, TRAIN),
        checked=gate("embeddings", subjects=TRAIN),
    output:
        checkpoint=PATHS.checkpoint("pose"),
    log:
        PATHS.log("train_pose"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("pose"),
        mem_mb=memory(16000),
        runtime=480,
    params:
        version=stage_version("train_pose"),
        section=section("train_pose"),
    message:
        "Train the pose network on embeddings of the labelled subjects."
    shell:
        "python -m codebase train-pose --config {input.config:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --embeddings {input.embeddings:q} --output {output.checkpoint:q}"
        " --time-budget {resources.runtime}m 2> {log:q}"
