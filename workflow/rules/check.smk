"""Checks of artefacts: finite, complete, of the right shape.

A scheduler can report a lost host as success, so the DAG looks for itself. `rule all` asks for the markers; they are
no input of other rules, since checking again must not train again. (As ancient() inputs they would hide other reasons to
run: Snakemake 9 does not look behind a job that is due, and does not go through ancient files either.)

INPUTS: {root}/index_{train,val,test}.h5, {root}/crops/S{subject}.h5, {root}/embeddings/{enc_dec.name}/S{subject}.pkl, {root}/predictions.h5
OUTPUTS: {root}/checks/{index,crops,embeddings,predictions}.json
Steps: check_index, check_crops, check_embeddings, check_predictions, as soon as their files are there
"""


rule check_index:
    input:
        config=RUN_CONFIG,
        files=[PATHS.index(split) for split in ("train", "val", "test")],
    output:
        marker=PATHS.checked("index"),
    log:
        PATHS.log("check", "index"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        version=stage_version("check"),
    message:
        "Check the indices."
    shell:
        "python -m codebase check --config {input.config:q} --what index --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"


rule check_crops:
    input:
        config=RUN_CONFIG,
        files=each(PATHS.crops, SUBJECTS),
    output:
        marker=PATHS.checked("crops"),
    log:
        PATHS.log("check", "crops"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        version=stage_version("check"),
    message:
        "Check the crops."
    shell:
        "python -m codebase check --config {input.config:q} --what crops --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"


rule check_embeddings:
    input:
        config=RUN_CONFIG,
        files=each(PATHS.embeddings, SUBJECTS),
    output:
        marker=PATHS.checked("embeddings"),
    log:
        PATHS.log("check", "embeddings"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        version=stage_version("check"),
    message:
        "Check the embeddings."
    shell:
        "python -m codebase check --config {input.config:q} --what embeddings --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"


rule check_predictions:
    input:
        config=RUN_CONFIG,
        files=[PATHS.predictions],
    output:
        marker=PATHS.checked("predictions"),
    log:
        PATHS.log("check", "predictions"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        version=stage_version("check"),
    message:
        "Check the predictions."
    shell:
        "python -m codebase check --config {input.config:q} --what predictions --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"
