"""Predictions on the test subjects, their errors, the page.

INPUTS: {root}/index_test.h5 (the page: all three), {root}/crops/S{subject}.h5, {root}/embeddings/{enc_dec.name}/S{subject}.{pkl,h5}, all checkpoints,
        the body file, the frames of the dataset tree (the page),
        {bodies}/S{subject}.h5 where the dataset has them, {root}/bodies/S{subject}.h5 where some are fitted,
        {root}/labels/curve.json where labels are swept
OUTPUTS: {root}/predictions.h5, {root}/results.csv, {root}/meshes/, {root}/metrics.json, {root}/report.html
Steps: predict -> evaluate -> report
"""


rule predict:
    input:
        config=RUN_CONFIG,
        index_test=PATHS.index("test"),
        crops=each(PATHS.crops, TEST),
        embeddings=each(PATHS.embeddings, TEST),
        enc_dec=PATHS.checkpoint("enc_dec"),
        pose=PATHS.checkpoint("pose"),
        smpl=PATHS.checkpoint("smpl"),
        hmr=PATHS.checkpoint("hmr"),
        body=CONFIG.dataset.body,
        checked=gate("embeddings", "enc_dec", "pose", "smpl", "hmr", subjects=TEST),
    output:
        predictions=PATHS.predictions,
        csv=PATHS.results_csv,
        meshes=directory(PATHS.meshes),
    log:
        PATHS.log("predict"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=memory(8000),
        runtime=240,
    params:
        version=stage_version("predict"),
        section=section("predict"),
    message:
        "Predict novel views, poses and bodies of the test subjects."
    shell:
        "python -m codebase predict --config {input.config:q} --index-test {input.index_test:q} --crops {input.crops:q}"
        " --embeddings {input.embeddings:q} --enc-dec {input.enc_dec:q} --pose {input.pose:q} --smpl {input.smpl:q}"
        " --hmr {input.hmr:q} --body {input.body:q} --output {output.predictions:q} --csv {output.csv:q}"
        " --meshes {output.meshes:q} 2> {log:q}"


rule evaluate:
    input:
        config=RUN_CONFIG,
        predictions=PATHS.predictions,
        bodies=body_files(TEST),
        fitted=fitted_files(TEST),
        body=CONFIG.dataset.body,
        crops=each(PATHS.crops, TEST),
        prior=PATHS.checkpoint("prior"),
        enc_dec=PATHS.checkpoint("enc_dec"),
        embeddings=each(PATHS.embeddings, TEST),
        pose=PATHS.checkpoint("pose"),
        labels=label_curve(),
        checked=gate("predictions", "bodies", "fitted", "prior", subjects=TEST),
    output:
        metrics=PATHS.metrics,
    log:
        PATHS.log("evaluate"),
    conda:
        ENVIRONMENT
    threads: THREADS
    resources:
        mem_mb=memory(8000),
        runtime=120,
    params:
        version=stage_version("evaluate"),
        section=section("evaluate"),
    message:
        "Measure the predictions."
    shell:
        "python -m codebase evaluate --config {input.config:q} --predictions {input.predictions:q}"
        " --bodies {input.bodies:q} --fitted {input.fitted:q} --body {input.body:q} --crops {input.crops:q} --prior {input.prior:q}"
        " --enc-dec {input.enc_dec:q} --embeddings {input.embeddings:q} --pose {input.pose:q}"
        " --labels {input.labels:q} --output {output.metrics:q} 2> {log:q}"


rule report:
    input:
        config=RUN_CONFIG,
        metrics=PATHS.metrics,
        predictions=PATHS.predictions,
        index_test=PATHS.index("test"),
        # read beside index_test, for the counts of every split
        other_indices=[PATHS.index("train"), PATHS.index("val")],
        checkpoints=[
            PATHS.checkpoint(stage)
            for stage in ("enc_dec", "pose", "prior", "smpl", "hmr")
        ],
        body=CONFIG.dataset.body,
        labels=label_curve(),
    output:
        report=PATHS.report,
    log:
        PATHS.log("report"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(8000),
        runtime=60,
    params:
        version=stage_version("report"),
        section=section("report"),
    message:
        "Write the page."
    shell:
        "python -m codebase report --config {input.config:q} --metrics {input.metrics:q} --predictions {input.predictions:q}"
        " --index-test {input.index_test:q} --checkpoints {input.checkpoints:q} --body {input.body:q}"
        " --labels {input.labels:q} --output {output.report:q} 2> {log:q}"
