"""The subcommands that are no stage of the DAG: checks, launching, looking, and networks by hand."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from pathlib import Path
from typing import Any

from codebase.commands import COMMANDS
from codebase.errors import ConfigError
from codebase.launch.options import add_options, seconds
from codebase.processes import limit_threads, spread


def add_tools(commands: Any) -> None:  # noqa: ANN401 - argparse has no public type for it
    """Add the subcommands that are no stage."""
    check = commands.add_parser("check-config", help="check a config and print nothing if it is right")
    add_config(check)
    finish(check, _check_config)
    data = commands.add_parser("check-data", help="say what lies in a folder of captures, and what looks wrong with it")
    data.add_argument("root", type=Path, metavar="ROOT", help="a dataset tree, or any source that extract reads")
    data.add_argument("--masks-root", type=Path, help="tree of the masks, if it is another than ROOT")
    data.add_argument(
        "--sheets", type=Path, metavar="FOLDER", help="of the contact sheets, default results/check_data/ROOT"
    )
    data.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, default one a core")
    data.add_argument("--config", type=Path, help="whose subjects, acts, subactions and cameras are expected")
    data.add_argument("--json", type=Path, metavar="FILE", help="write all that was found for programs")
    finish(data, _check_data)
    schema = commands.add_parser("schema", help="print the schema of the config, or write it and the docs' table")
    schema.add_argument("--write", action="store_true", help="write configs/schema.json and docs/config.md")
    finish(schema, _schema)
    launch = commands.add_parser("launch", help="run the whole DAG, or one stage after --, here or as a cluster job")
    add_options(launch)
    finish(launch, _launch)
    status = commands.add_parser("status", help="what runs, how far, until when: of one run, or a line for each")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--watch", type=seconds, metavar="SECONDS", help="again and again")
    status.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs, default results")
    status.add_argument("run", type=Path, nargs="?", metavar="RUN|CONFIG")
    status.add_argument("overrides", nargs="*", metavar="key=value")
    finish(status, _status)
    profile = commands.add_parser("profile", help="install a Snakemake profile by name, with a site file laid over it")
    profile.add_argument("--print", dest="only_print", action="store_true", help="print it and install nothing")
    profile.add_argument("name", metavar="NAME")
    profile.add_argument("site", type=Path, nargs="?", metavar="SITE.yaml")
    finish(profile, _profile)
    tree = commands.add_parser("course-tree", help="make the course project's tree of a dataset that has bodies")
    tree.add_argument("--config", type=Path, required=True, help="whose dataset, bodies and splits are taken")
    tree.add_argument("--output", type=Path, required=True, help="dataset_folder and img_folder of the course's YAML")
    tree.add_argument("--blind", type=int, nargs="*", default=(), help="subjects whose npz hold no bodies")
    tree.add_argument("overrides", nargs="*", metavar="key=value")
    finish(tree, _course_tree)
    _add_body(commands)
    _add_novel_view(commands)
    for name, text in (("train", "train the image-to-body network by hand"), ("test", "predict with a model file")):
        by_hand = commands.add_parser(name, help=text)
        by_hand.add_argument("--model_file", type=Path, required=name == "test", help="model_{step}.pt")
        add_config(by_hand)
        finish(by_hand, _by_hand, name=name)


def _add_body(commands: Any) -> None:  # noqa: ANN401 - as above
    body = commands.add_parser("body", help="body files: what they are, as npz, as pictures; predicted bodies, too")
    tools = body.add_subparsers(metavar="TOOL", required=True, dest="tool")
    what = tools.add_parser("info", help="which body it is, its sizes, checks, and how well its joints are known")
    what.add_argument("file", type=Path, metavar="FILE", help="npz, or an official SMPL or SMPL+H pkl")
    convert = tools.add_parser("convert", help="any body file to an npz of plain arrays")
    convert.add_argument("file", type=Path, metavar="SRC")
    convert.add_argument("output", type=Path, metavar="DST.npz")
    view = tools.add_parser("view", help="a picture from four sides: of a body file, predictions.h5, or bodies/S9.h5")
    view.add_argument("file", type=Path, metavar="FILE")
    view.add_argument("output", type=Path, metavar="OUT.png")
    view.add_argument("--betas", metavar="NUMBERS", help="shape of a body file, such as --betas=-2,0,1")
    view.add_argument("--pose", nargs="*", default=[], metavar="JOINT=x,y,z", help="of a body file, radians")
    view.add_argument("--body", type=Path, default=Path("assets/free_body.npz"), help="whose bodies FILE holds")
    view.add_argument("--head", choices=("smpl", "hmr"), default="hmr", help="of predictions.h5")
    view.add_argument(
        "--at", nargs="*", default=[], metavar="FRAME", help="S9/act_02_subact_01/ca_03/20; S9, ca_03 if need be"
    )
    for tool in (what, convert, view):
        finish(tool, _body)


def _add_novel_view(commands: Any) -> None:  # noqa: ANN401 - as above
    view = commands.add_parser("novel-view", help="one frame from all round: a film and a strip of pictures")
    add_config(view)
    view.add_argument("--at", required=True, metavar="FRAME", help="S9/act_02_subact_01/ca_03/20")
    view.add_argument("--axis", choices=("vertical", "horizontal", "view"), default="vertical", help="of the turn")
    view.add_argument("--elevation", type=float, default=0.0, metavar="DEG", help="how far it rises half way round")
    view.add_argument("--through-cameras", action="store_true", help="pass through the other cameras of the instant")
    view.add_argument("--frames", type=int, default=48, help="views of the turn, default 48")
    view.add_argument(
        "--background", choices=("grey", "white", "black", "room"), default="grey", help="room: the source's own"
    )
    view.add_argument("--appearance-of", metavar="FRAME", help="whose clothes the person wears")
    view.add_argument("--checkpoint", type=Path, metavar="FILE", help="of enc_dec, default the workflow's")
    view.add_argument("--output", type=Path, metavar="OUT.gif|mp4", help="the film, default in the run's folder")
    view.add_argument("--strip", type=Path, metavar="OUT.png", help="pictures side by side, default beside the film")
    finish(view, _novel_view)


def add_config(parser: argparse.ArgumentParser) -> None:
    """CONFIG and its overrides, by position."""
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def finish(parser: argparse.ArgumentParser, handler: object, **defaults: object) -> None:
    """What every subcommand has: --traceback, and the function that does it."""
    parser.add_argument("--traceback", action="store_true", help="show where a user error was raised")
    parser.set_defaults(handler=handler, **defaults)


def _check_config(options: argparse.Namespace) -> None:
    from codebase.config import read_config
    from codebase.config.course import is_course, read_course_config

    (read_course_config if is_course(options.config) else read_config)(options.config, options.overrides)


def _check_data(options: argparse.Namespace) -> None:
    from codebase.config import read_config

    limit_threads(1)
    logs = importlib.import_module("codebase.logs")
    logs.configure_logging()
    importlib.import_module("codebase.check_data").check(
        options.root, masks_root=options.masks_root, workers=max(options.workers, 1), say=print,
        sheets=options.sheets or Path("results/check_data") / (options.root.resolve().name or "root"),
        config=read_config(options.config) if options.config else None, json_file=options.json,
    )  # fmt: skip


def _schema(options: argparse.Namespace) -> None:
    documents = importlib.import_module("codebase.config_docs").documents()
    for path, text in documents.items():
        if options.write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif path.name == "schema.json":
            print(text, end="")


def _body(options: argparse.Namespace) -> None:
    limit_threads(1)
    tools = importlib.import_module("codebase.body_tools")
    if options.tool == "info":
        tools.info(options.file, print)
    elif options.tool == "convert":
        tools.convert(options.file, options.output, print)
    else:
        tools.view(
            options.file, options.output, print, betas=options.betas, pose=options.pose, body=options.body,
            head=options.head, at=options.at,
        )  # fmt: skip


def _novel_view(options: argparse.Namespace) -> None:
    from codebase.config import read_config

    config = read_config(options.config, options.overrides)
    limit_threads(config.runtime.threads)
    tool = importlib.import_module("codebase.novel_view")
    orbit = tool.Orbit(options.frames, options.axis, options.elevation, options.through_cameras)
    tool.novel_view(
        config, at=options.at, say=print, orbit=orbit, background=options.background,
        appearance_of=options.appearance_of, checkpoint=options.checkpoint, output=options.output,
        sheet=options.strip,
    )  # fmt: skip


def _launch(options: argparse.Namespace) -> int:
    return importlib.import_module("codebase.launch.main").launch(
        options, {name: stage.trains for name, stage in COMMANDS.items()}
    )


def _status(options: argparse.Namespace) -> int:
    status = importlib.import_module("codebase.status.show").status
    return status(options.run, options.overrides, as_json=options.json, watch_s=options.watch, results=options.results)


def _profile(options: argparse.Namespace) -> None:
    profiles = importlib.import_module("codebase.profiles")
    if options.only_print:
        print(profiles.render(options.name, options.site), end="")
        return
    written = profiles.install(options.name, options.site, profiles.user_folder())
    print(f"{written}\nNow, in the repository: snakemake --profile {options.name} --configfile CONFIG")


def _course_tree(options: argparse.Namespace) -> None:
    from codebase.config import read_config

    config = read_config(options.config, options.overrides)
    limit_threads(1)
    importlib.import_module("codebase.logs").configure_logging()
    importlib.import_module("codebase.course.tree").write_tree(config, options.output, blind=options.blind)


def _by_hand(options: argparse.Namespace) -> None:
    from codebase.config import read_config
    from codebase.config.course import is_course

    if is_course(options.config):
        _course(options)
        return
    if options.model_file and options.name == "train":
        raise ConfigError(
            "train takes no --model_file: it resumes its own run by itself.", mend="leave --model_file out"
        )
    config = read_config(options.config, options.overrides)
    limit_threads(config.runtime.threads)
    importlib.import_module("codebase.logs").configure_logging()
    by_hand = importlib.import_module("codebase.by_hand")
    if options.name == "test":
        by_hand.test(config, options.model_file)
    elif not spread(options, config.hmr):
        by_hand.train(config)


def _course(options: argparse.Namespace) -> None:
    """Do `train` or `test` as the YAML of the course says."""
    from codebase.config.course import read_course_config

    config = read_course_config(options.config, options.overrides)
    limit_threads(max(1, min(config.training.num_workers, os.cpu_count() or 1)))
    logs = importlib.import_module("codebase.logs")
    logs.configure_logging(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR)
    if options.name == "test":
        importlib.import_module("codebase.course.predict").test(config, options.config, options.model_file)
    elif not spread(options, config.section(1)):
        importlib.import_module("codebase.course.train").train(config, model_file=options.model_file)
