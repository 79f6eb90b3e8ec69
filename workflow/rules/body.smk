"""SMPL bodies: fitted to joints and masks, from the embedding (joints, silhouettes, a prior), and from images (iterative regressor).

INPUTS: the body file, {root}/index_{train,val,test}.h5, {root}/crops/S{subject}.h5, {root}/embeddings/{enc_dec.name}/S{subject}.{pkl,h5},
        {bodies}/S{subject}.h5 where the dataset has them; the masks of the dataset tree;
        {root}/runs/{enc_dec.name}/model_{steps}.pt with hmr.start: enc_dec
OUTPUTS: {root}/bodies/S{subject}.h5 (fit_bodies.use), {root}/runs/{prior.name}/model_{steps}.pt, {root}/runs/{smpl.name}/model_{steps}.pt, {root}/runs/{hmr.name}/model_{steps}.pt
Steps: train_prior -> train_smpl; fit_bodies -> train_hmr (and train_prior, with hmr.prior_weight; train_enc_dec, with
       hmr.start: enc_dec)
"""

if fitted_files(TEST):

    rule fit_bodies:
        input:
            config=RUN_CONFIG,
            index=indices_of_subject,
            body=CONFIG.dataset.body,
            checked=gate_of_indices,
        output:
            bodies=PATHS.fitted("{subject}"),
        log:
            PATHS.log("fit_bodies", "S{subject}"),
        conda:
            ENVIRONMENT
        threads: WORKERS
        resources:
            mem_mb=memory(8000),
            runtime=720,
        params:
            version=stage_version("fit_bodies"),
            section=section("fit_bodies"),
            every=fitted_sequences(),
        message:
            "Fit bodies to the joints and masks of subject {wildcards.subject}."
        shell:
            "python -m codebase fit-bodies --config {input.config:q} --subject {wildcards.subject} --index {input.index:q}"
            " --body {input.body:q} --every {params.every} --output {output.bodies:q} 2> {log:q}"


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
        bodies=label_files(TRAIN),
        prior=hmr_prior(),
        enc_dec=hmr_encoder(),
        body=CONFIG.dataset.body,
        checked=gate("crops", subjects=TRAIN)
        + gate_of_labels(TRAIN)
        + gate_of_hmr_prior()
        + gate_of_hmr_encoder(),
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
        begin=words_of_hmr_encoder(),
    message:
        "Train the image-to-body network with its iterative regressor."
    shell:
        "python -m codebase train-hmr --config {input.config:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --crops {input.crops:q} --bodies {input.bodies:q} --prior {input.prior:q}"
        " {params.begin:q} --body {input.body:q} --output {output.checkpoint:q}"
        " --time-budget {resources.runtime}m 2> {log:q}"
