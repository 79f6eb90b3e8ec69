.PHONY: help lint format test dag schema dryrun
export OMP_WAIT_POLICY = passive

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

lint:  ## every linter
	bash envs/lint.sh

format:  ## format Python and Snakemake files
	ruff format .
	snakefmt Snakefile workflow

test:  ## every test but those on a live scheduler (bash tests/run.sh --cluster)
	bash tests/run.sh

schema:  ## configs/schema.json and docs/config.md from the one schema
	python -m codebase schema --write

dag:  ## docs/dag.svg and docs/dag.png, the picture of the DAG without its short cuts (needs graphviz)
	snakemake --rulegraph --configfile configs/mini.yaml | tred > docs/dag.dot
	dot -Tsvg -Grankdir=LR docs/dag.dot -o docs/dag.svg
	dot -Tpng -Grankdir=LR -Gdpi=110 docs/dag.dot -o docs/dag.png
	rm docs/dag.dot

dryrun:  ## what the default config would run
	snakemake -n --quiet rules
