"""From a dataset tree (rendered or extracted here, as dataset.kind says) to crops.

INPUTS: {dataset}/s_01_act_02_subact_01_ca_01/*.jpg, *.png, h36m_meta.mat; the body file; extract.source (extract only)
OUTPUTS: {dataset}/truth/S{subject}.h5 and the tree itself (synthetic only), {dataset}/extracted/S{subject}.json and the
         tree itself (extract only), {dataset}/bodies/S{subject}.h5 (extract.door: course),
         {root}/backgrounds/background_subject{subject}.npy and .json, {root}/index_{train,val,test}.h5, {root}/crops/S{subject}.h5
Steps: synthesize or extract -> backgrounds, index -> crops
"""

if CONFIG.dataset.kind == "synthetic":

    rule synthesize:
        input:
            config=RUN_CONFIG,
            body=CONFIG.dataset.body,
        output:
            truth=PATHS.truth("{subject}"),
        log:
            PATHS.log("synthesize", "S{subject}"),
        conda:
            ENVIRONMENT
        threads: WORKERS
        resources:
            mem_mb=memory(4000),
            runtime=240,
        params:
            version=stage_version("synthesize"),
            section=section("synthesize"),
        message:
            "Render subject {wildcards.subject} of the miniature Human3.6M."
        shell:
            "python -m codebase synthesize --config {input.config:q} --subject {wildcards.subject}"
            " --output {output.truth:q} 2> {log:q}"


if CONFIG.dataset.kind == "extract":

    rule extract:
        input:
            config=RUN_CONFIG,
        output:
            summary=PATHS.extracted("{subject}"),
            bodies=extracted_bodies("{subject}"),
        log:
            PATHS.log("extract", "S{subject}"),
        conda:
            ENVIRONMENT
        threads: WORKERS
        resources:
            mem_mb=memory(4000),
            runtime=720,
        params:
            version=stage_version("extract"),
            section=section("extract"),
        message:
            "Extract the frames, masks, cameras and poses of subject {wildcards.subject}."
        shell:
            "python -m codebase extract --config {input.config:q} --subject {wildcards.subject}"
            " --output {output.summary:q} 2> {log:q}"


rule backgrounds:
    input:
        rendered_subject,
        config=RUN_CONFIG,
    output:
        background=PATHS.background("{subject}"),
    log:
        PATHS.log("backgrounds", "S{subject}"),
    conda:
        ENVIRONMENT
    threads: WORKERS
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        version=stage_version("backgrounds"),
        section=section("backgrounds"),
    message:
        "Median background of each camera of subject {wildcards.subject}."
    shell:
        "python -m codebase backgrounds --config {input.config:q} --subject {wildcards.subject}"
        " --output {output.background:q} 2> {log:q}"


rule index:
    input:
        rendered_split,
        config=RUN_CONFIG,
    output:
        index=PATHS.index("{split}"),
    log:
        PATHS.log("index", "{split}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        version=stage_version("index"),
        section=split_section,
    message:
        "Index frames, joints and cameras of split {wildcards.split}; broken folders are left out, with the reason."
    shell:
        "python -m codebase index --config {input.config:q} --output-{wildcards.split} {output.index:q} 2> {log:q}"


rule crops:
    input:
        config=RUN_CONFIG,
        index=indices_of_subject,
        background=PATHS.background("{subject}"),
        checked=gate_of_crops,
    output:
        crops=PATHS.crops("{subject}"),
    log:
        PATHS.log("crops", "S{subject}"),
    conda:
        ENVIRONMENT
    threads: WORKERS
    resources:
        mem_mb=memory(4000),
        runtime=240,
    params:
        version=stage_version("crops"),
        section=section("crops"),
    message:
        "Cut the crops of subject {wildcards.subject}."
    shell:
        "python -m codebase crops --config {input.config:q} --subject {wildcards.subject} --index {input.index:q}"
        " --background {input.background:q} --output {output.crops:q} 2> {log:q}"
