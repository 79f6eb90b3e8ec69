"""The label sweep: representations, rivals among them, each taught by several amounts of labels from several seeds.

A point of the sweep is one training. What is checked and what is measured of a representation is one job for all its
points: either takes seconds a point, and jobs of their own would treble the jobs of the sweep.

INPUTS: {root}/index_{train,val,test}.h5, {root}/crops/S{subject}.h5, {root}/embeddings/{enc_dec.name}/S{subject}.{pkl,h5},
        {root}/runs/{enc_dec.name}/model_{steps}.pt, the weights of ImageNet where imagenet is among them
OUTPUTS: {root}/runs/{rival enc_dec.name}/model_{steps}.pt, {root}/embeddings/{rival enc_dec.name}/S{subject}.{pkl,h5},
         {root}/labels/{representation}/{amount}_seed{seed}/model_{steps}.pt, {root}/labels/{representation}.json,
         {root}/labels/curve.json, {root}/labels/curve.png,
         {root}/checks/{rival_{encoder},rival_embeddings_{encoder}_S{subject},labels_{representation}}.json
Steps: train_rival -> embed_rival -> train_label_pose; train_label_images; measure_labels -> label_sweep
"""


rule train_rival:
    input:
        config=ancient(config_of_rival),
        index_train=PATHS.index("train"),
        index_val=PATHS.index("val"),
        crops=each(PATHS.crops, TRAIN),
        checked=gate("crops", subjects=TRAIN),
    output:
        checkpoint=PATHS.root / "runs" / "{rival_model}.pt",
    log:
        PATHS.log("train_rival", "{rival_model}"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("enc_dec"),
        mem_mb=memory(16000),
        runtime=1440,
    params:
        version=stage_version("train_enc_dec"),
        section=section_of_rival("train_enc_dec"),
    message:
        "Train the encoder-decoder of a rival, {wildcards.rival_model}."
    shell:
        "python -m codebase train-enc-dec --config {input.config:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --crops {input.crops:q} --output {output.checkpoint:q}"
        " --time-budget {resources.runtime}m 2> {log:q}"


rule check_rival:
    input:
        config=RUN_CONFIG,
        files=model_of_rival,
    output:
        marker=PATHS.checked("rival", "{encoder}"),
    log:
        PATHS.log("check", "rival_{encoder}"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=30,
    message:
        "Check the checkpoint of the rival {wildcards.encoder}."
    shell:
        "python -m codebase check --config {input.config:q} --what checkpoint --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"


rule embed_rival:
    input:
        config=ancient(config_of_rival),
        checkpoint=model_of_rival,
        crops=PATHS.crops("{subject}"),
        checked=[
            PATHS.checked("crops", "S{subject}"),
            PATHS.checked("rival", "{encoder}"),
        ],
    output:
        embeddings=PATHS.root
        / "embeddings"
        / "{encoder}"
        / PATHS.embeddings("{subject}").name,
    log:
        PATHS.log("embed_rival", "{encoder}_S{subject}"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=memory(8000),
        runtime=120,
    params:
        version=stage_version("embed"),
        section=section_of_rival("embed"),
    message:
        "Embed the crops of subject {wildcards.subject} with the rival {wildcards.encoder}."
    shell:
        "python -m codebase embed --config {input.config:q} --checkpoint {input.checkpoint:q}"
        " --crops {input.crops:q} --output {output.embeddings:q} 2> {log:q}"


rule check_rival_embeddings:
    input:
        config=RUN_CONFIG,
        files=[
            PATHS.root
            / "embeddings"
            / "{encoder}"
            / PATHS.embeddings("{subject}").name
        ],
        against=sources_of_rival_embeddings,
    output:
        marker=PATHS.checked("rival_embeddings", "{encoder}_S{subject}"),
    log:
        PATHS.log("check", "rival_embeddings_{encoder}_S{subject}"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    message:
        "Check the embeddings of subject {wildcards.subject} by the rival {wildcards.encoder}."
    shell:
        "python -m codebase check --config {input.config:q} --what embeddings --files {input.files:q}"
        " --against {input.against:q} --output {output.marker:q} 2> {log:q}"


rule train_label_pose:
    input:
        config=ancient(config_of_point),
        index_train=PATHS.index("train"),
        index_val=PATHS.index("val"),
        embeddings=embeddings_of_point,
        checked=gate_of_pose_point,
    output:
        checkpoint=PATHS.labels / "{pose_point}.pt",
    log:
        PATHS.log("train_label_pose", "{pose_point}"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("pose"),
        mem_mb=memory(16000),
        runtime=480,
    params:
        version=stage_version("train_pose"),
        section=digest_of_point,
        settings=words_of_point,
    message:
        "Train a pose network on embeddings with the labels of {wildcards.pose_point}."
    shell:
        "python -m codebase train-pose --config {input.config:q} --set {params.settings:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --embeddings {input.embeddings:q} --output {output.checkpoint:q}"
        " --time-budget {resources.runtime}m 2> {log:q}"


rule train_label_images:
    input:
        config=ancient(config_of_point),
        index_train=PATHS.index("train"),
        index_val=PATHS.index("val"),
        crops=crops_of_point,
        enc_dec=first_encoder,
        checked=gate_of_image_point,
    output:
        checkpoint=PATHS.labels / "{image_point}.pt",
    log:
        PATHS.log("train_label_images", "{image_point}"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=gpus("image_pose"),
        mem_mb=memory(16000),
        runtime=1440,
    params:
        version=stage_version("train_image_pose"),
        section=digest_of_point,
        settings=words_of_point,
        begin=words_of_first_encoder,
    message:
        "Train a pose network on images with the labels of {wildcards.image_point}."
    shell:
        "python -m codebase train-image-pose --config {input.config:q} --set {params.settings:q} --index-train {input.index_train:q}"
        " --index-val {input.index_val:q} --crops {input.crops:q} {params.begin:q} --output {output.checkpoint:q}"
        " --time-budget {resources.runtime}m 2> {log:q}"


rule check_labels:
    input:
        config=RUN_CONFIG,
        files=points_of,
    output:
        marker=PATHS.checked("labels", "{representation}"),
    log:
        PATHS.log("check", "labels_{representation}"),
    priority: 10
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    message:
        "Check the checkpoints of all trainings of {wildcards.representation} in the label sweep."
    shell:
        "python -m codebase check --config {input.config:q} --what checkpoint --files {input.files:q}"
        " --output {output.marker:q} 2> {log:q}"


rule measure_labels:
    input:
        config=RUN_CONFIG,
        index_test=PATHS.index("test"),
        crops=crops_to_measure,
        embeddings=embeddings_to_measure,
        checkpoints=points_of,
        checked=gate_of_measuring,
    output:
        measured=PATHS.measured("{representation}"),
    log:
        PATHS.log("measure_labels", "{representation}"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=memory(8000),
        runtime=240,
    params:
        version=stage_version("measure_labels"),
        section=section("measure_labels"),
    message:
        "Measure all trainings of {wildcards.representation} in the label sweep on the test subjects."
    shell:
        "python -m codebase measure-labels --config {input.config:q} --representation {wildcards.representation:q}"
        " --index-test {input.index_test:q} --crops {input.crops:q} --embeddings {input.embeddings:q}"
        " --checkpoints {input.checkpoints:q} --output {output.measured:q} 2> {log:q}"


rule label_sweep:
    input:
        config=RUN_CONFIG,
        measured=[PATHS.measured(name) for name in CONFIG.labels.representations],
    output:
        curve=PATHS.label_curve,
        picture=PATHS.label_curve.with_suffix(".png"),
    log:
        PATHS.log("label_sweep"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=30,
    params:
        version=stage_version("label_sweep"),
        section=section("label_sweep"),
    message:
        "Draw the errors of all representations over amounts of labels."
    shell:
        "python -m codebase label-sweep --config {input.config:q} --measured {input.measured:q}"
        " --output {output.curve:q} --picture {output.picture:q} 2> {log:q}"
