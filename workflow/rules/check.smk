"""Checks of artefacts, and the gate that they are: finite, complete, of the right shape, made from what they say.

A scheduler can report a lost host as success, and a full disk leaves holes, so the DAG looks for itself. A job that uses
an artefact has its marker as an input (`gate` in inputs.smk): training does not start on broken crops.

Checking again must not train again. So a check is due only when its files are, and then so is all that follows: it has no
version among its params, nobody but the jobs behind it asks for its marker (`rule all` does not, so a lost marker is no
reason to run), and the marker says the same whenever the same files pass (Snakemake compares the checksums of small
inputs). After a change of the checks themselves, old artefacts are checked by hand: `python -m codebase check ...`.

INPUTS: {root}/index_{train,val,test}.h5, {root}/backgrounds/background_subject{subject}.npy, {bodies}/S{subject}.h5,
        {root}/bodies/S{subject}.h5, {root}/crops/S{subject}.h5, {root}/runs/{network}/model_{steps}.pt,
        {root}/embeddings/{enc_dec.name}/S{subject}.{pkl,h5}, {root}/predictions.h5
OUTPUTS: {root}/checks/{index_{split},backgrounds_S{subject},bodies_S{subject},fitted_S{subject},crops_S{subject},embeddings_S{subject}}.json,
         {root}/checks/{enc_dec,pose,prior,smpl,hmr,predictions}.json
Steps: check_index, check_backgrounds, check_bodies, check_fitted, check_crops, check_{enc_dec,pose,prior,smpl,hmr}, check_embeddings, check_predictions
"""


rule check_index:
    input:
        config=RUN_CONFIG,
        files=[PATHS.index("{split}")],
    output:
        marker=PATHS.checked("index", "{split}"),
    log:
        PATHS.log("check", "index_{split}"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    message:
        "Check the index of split {wildcards.split}."
    shell:
        "python -m codebase check --config {input.config:q} --what index --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"


rule check_backgrounds:
    input:
        config=RUN_CONFIG,
        files=[PATHS.background("{subject}")],
        against=indices_of_subject,
    output:
        marker=PATHS.checked("backgrounds", "S{subject}"),
    log:
        PATHS.log("check", "backgrounds_S{subject}"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    message:
        "Check the backgrounds of subject {wildcards.subject}."
    shell:
        "python -m codebase check --config {input.config:q} --what backgrounds --files {input.files:q}"
        " --against {input.against:q} --output {output.marker:q} 2> {log:q}"


if PATHS.bodies:

    rule check_bodies:
        input:
            config=RUN_CONFIG,
            files=body_files(["{subject}"]),
        output:
            marker=PATHS.checked("bodies", "S{subject}"),
        log:
            PATHS.log("check", "bodies_S{subject}"),
        priority: 10
        conda:
            ENVIRONMENT
        resources:
            mem_mb=memory(4000),
            runtime=60,
        message:
            "Check the SMPL parameters of subject {wildcards.subject}."
        shell:
            "python -m codebase check --config {input.config:q} --what bodies --files {input.files:q}"
            " --output {output.marker:q} 2> {log:q}"


if fitted_files(TEST):

    rule check_fitted:
        input:
            config=RUN_CONFIG,
            files=[PATHS.fitted("{subject}")],
        output:
            marker=PATHS.checked("fitted", "S{subject}"),
        log:
            PATHS.log("check", "fitted_S{subject}"),
        priority: 10
        conda:
            ENVIRONMENT
        resources:
            mem_mb=memory(4000),
            runtime=60,
        message:
            "Check the bodies that were fitted to subject {wildcards.subject}."
        shell:
            "python -m codebase check --config {input.config:q} --what bodies --files {input.files:q}"
            " --output {output.marker:q} 2> {log:q}"


rule check_crops:
    input:
        config=RUN_CONFIG,
        files=[PATHS.crops("{subject}")],
        against=indices_of_subject,
    output:
        marker=PATHS.checked("crops", "S{subject}"),
    log:
        PATHS.log("check", "crops_S{subject}"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=120,
    message:
        "Check the crops of subject {wildcards.subject}, every one of them."
    shell:
        "python -m codebase check --config {input.config:q} --what crops --files {input.files:q}"
        " --against {input.against:q} --output {output.marker:q} 2> {log:q}"


rule check_enc_dec:
    input:
        config=RUN_CONFIG,
        files=[PATHS.checkpoint("enc_dec")],
    output:
        marker=PATHS.checked("enc_dec"),
    log:
        PATHS.log("check", "enc_dec"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=30,
    message:
        "Check the checkpoint of the encoder-decoder."
    shell:
        "python -m codebase check --config {input.config:q} --what checkpoint --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"


use rule check_enc_dec as check_pose with:
    input:
        config=RUN_CONFIG,
        files=[PATHS.checkpoint("pose")],
    output:
        marker=PATHS.checked("pose"),
    log:
        PATHS.log("check", "pose"),
    message:
        "Check the checkpoint of the pose network."


use rule check_enc_dec as check_prior with:
    input:
        config=RUN_CONFIG,
        files=[PATHS.checkpoint("prior")],
    output:
        marker=PATHS.checked("prior"),
    log:
        PATHS.log("check", "prior"),
    message:
        "Check the checkpoint of the prior."


use rule check_enc_dec as check_smpl with:
    input:
        config=RUN_CONFIG,
        files=[PATHS.checkpoint("smpl")],
    output:
        marker=PATHS.checked("smpl"),
    log:
        PATHS.log("check", "smpl"),
    message:
        "Check the checkpoint of the body network."


use rule check_enc_dec as check_hmr with:
    input:
        config=RUN_CONFIG,
        files=[PATHS.checkpoint("hmr")],
    output:
        marker=PATHS.checked("hmr"),
    log:
        PATHS.log("check", "hmr"),
    message:
        "Check the checkpoint of the image-to-body network."


rule check_embeddings:
    input:
        config=RUN_CONFIG,
        files=[PATHS.embeddings("{subject}")],
        against=[PATHS.checkpoint("enc_dec"), PATHS.crops("{subject}")],
    output:
        marker=PATHS.checked("embeddings", "S{subject}"),
    log:
        PATHS.log("check", "embeddings_S{subject}"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    message:
        "Check the embeddings of subject {wildcards.subject}."
    shell:
        "python -m codebase check --config {input.config:q} --what embeddings --files {input.files:q}"
        " --against {input.against:q} --output {output.marker:q} 2> {log:q}"


rule check_predictions:
    input:
        config=RUN_CONFIG,
        files=[PATHS.predictions],
        against=[
            PATHS.index("test"),
            *map(PATHS.checkpoint, ("enc_dec", "pose", "smpl", "hmr")),
        ],
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
    message:
        "Check the predictions."
    shell:
        "python -m codebase check --config {input.config:q} --what predictions --files {input.files:q}"
        " --against {input.against:q} --output {output.marker:q} 2> {log:q}"
