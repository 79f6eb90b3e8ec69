"""SMPL bodies: from the embedding (joints, silhouettes, a prior), and from images (iterative regressor).

INPUTS: the body file, {root}/index_{train,val}.h5, {root}/crops/S{subject}.h5, {root}/embeddings/{enc_dec.name}/S{subject}.pkl,
        {bodies}/S{subject}.h5 where the dataset has them
OUTPUTS: {root}/runs/{prior.name}/model_{steps}.pt, {root}/runs/{smpl.name}/model_{steps}.pt, {root}/runs/{hmr.name}/model_{steps}.pt
Steps: train_prior -> train_smpl; train_hmr
"""


rule train_prior:
    input:
        config=RUN_CONFIG,
        body=CONFIG.dataset.body,
    output:
        checkpoint=PATHS.checkpoint("prior"),
    log:
        PATHS.log("train_prior"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("prior"),
        mem_mb=memory(8000),
        runtime=240,
    params:
        version=stage_version("train_prior"),
        section=section("train_prior"),
    message:
        "Train the prior on plausible poses and shapes."
    shell:
        "python -m codebase train-prior --config {input.config:q} --body {input.body:q}"
        " --output {output.checkpoint:q} --time-budget {resources.runtime}m 2> {log:q}"


rule train_smpl:
    input:
        config=RUN_CONFIG,
        index_train=PATHS.index("train"),
        index_val=PATHS.index("val"),
        embeddings=each(PATHS.embeddings, TRAIN),
        crops=each(PATHS.crops, TRAIN),
        prior=PATHS.checkpoint("prior"),
        body=CONFIG.dataset.body,
        checked=gate("embeddings", "crops", "prior", subjects=TRAIN),
    output:
        checkpoint=PATHS.checkpoint("smpl"),
    log:
        PATHS.log("train_smpl"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("smpl"),
        mem_mb=memory(16000),
        runtime=1440,
    params:
        version=stage_version("train_smpl"),
        section=section("train_smpl"),
    message:
        "Train the body network on embeddings: joints of the labelled subjects, silhouettes, prior."
    shell:
        "python -m codebase train-smpl --config {input.config:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --embeddings {input.embeddings:q} --crops {input.crops:q}"
        " --prior {input.prior:q} --body {input.body:q} --output {output.checkpoint:q}"
        " --time-budget {resources.runtime}m 2> {log:q}"


rule train_hmr:
    input:
        config=RUN_CONFIG,
        index_train=PATHS.index("train"),
        index_val=PATHS.index("val"),
        crops=each(PATHS.crops, TRAIN),
        bodies=body_files(TRAIN),
        body=CONFIG.dataset.body,
        checked=gate("crops", "bodies", subjects=TRAIN),
    output:
        checkpoint=PATHS.checkpoint("hmr"),
    log:
        PATHS.log("train_hmr"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("hmr"),
        mem_mb=memory(16000),
        runtime=1440,
    params:
        version=stage_version("train_hmr"),
        section=section("train_hmr"),
    message:
        "Train the image-to-body network with its iterative regressor."
    shell:
        "python -m codebase train-hmr --config {input.config:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --crops {input.crops:q} --bodies {input.bodies:q} --body {input.body:q}"
        " --output {output.checkpoint:q} --time-budget {resources.runtime}m 2> {log:q}"
