# PoseMill's workflow, so that `snakemake` works from the repository root. See workflow/Snakefile.
include: "workflow/Snakefile"


# Snakemake forgets the default target of an included file
workflow.default_target = "all"
