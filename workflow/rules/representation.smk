"""The self-supervised representation: learn novel views, then embed every subject.

INPUTS: {root}/index_{train,val}.h5, {root}/crops/S{subject}.h5
OUTPUTS: {root}/runs/{enc_dec.name}/model_{steps}.pt, {root}/embeddings/{enc_dec.name}/S{subject}.{pkl,h5}
Steps: train_enc_dec -> embed
"""


rule train_enc_dec:
    input:
        config=RUN_CONFIG,
        index_train=PATHS.index("train"),
        index_val=PATHS.index("val"),
        crops=each(PATHS.crops, TRAIN),
        checked=gate("crops", subjects=TRAIN),
    output:
        checkpoint=PATHS.checkpoint("enc_dec"),
    log:
        PATHS.log("train_enc_dec"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("enc_dec"),
        mem_mb=memory(16000),
        runtime=1440,
    params:
        version=stage_version("train_enc_dec"),
        section=section("train_enc_dec"),
    message:
        "Train the encoder-decoder on pairs of cameras, without 3D labels."
    shell:
        "python -m codebase train-enc-dec --config {input.config:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --crops {input.crops:q} --output {output.checkpoint:q}"
        " --time-budget {resources.runtime}m 2> {log:q}"


rule embed:
    input:
        config=RUN_CONFIG,
        checkpoint=PATHS.checkpoint("enc_dec"),
        crops=PATHS.crops("{subject}"),
        checked=[
            PATHS.checked("crops", "S{subject}"),
            PATHS.checked("enc_dec"),
        ],
    output:
        embeddings=PATHS.embeddings("{subject}"),
    log:
        PATHS.log("embed", "S{subject}"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=memory(8000),
        runtime=120,
    params:
        version=stage_version("embed"),
        section=section("embed"),
    message:
        "Embed the crops of subject {wildcards.subject} with the frozen encoder."
    shell:
        "python -m codebase embed --config {input.config:q} --checkpoint {input.checkpoint:q}"
        " --crops {input.crops:q} --output {output.embeddings:q} 2> {log:q}"
