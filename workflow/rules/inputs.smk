"""Which files a rule's job takes, and which checks it waits for, by the subject or split of the job. No rules here.

INPUTS: CONFIG and PATHS of common.smk
OUTPUTS: nothing
"""


def each(path_of, subjects):
    """`path_of(subject)` for each subject, as strings."""
    return [str(path_of(subject)) for subject in subjects]


def fitted_files(subjects):
    """Files of fitted bodies of test subjects that evaluate reads: to measure against, or to be measured."""
    wanted = PATHS.fits_bodies or PATHS.measures_fits
    return each(PATHS.fitted, subjects) if wanted else []


def label_files(subjects):
    """Files of the bodies of which train_hmr learns; none where there are none."""
    return each(PATHS.fitted, subjects) if PATHS.fits_bodies else body_files(subjects)


def fitted_sequences():
    """Every how many sequences of a subject bodies are fitted: all of them, unless they are but measured."""
    return 1 if PATHS.fits_bodies else max(CONFIG.fit_bodies.measure_every, 1)


def gate(*kinds, subjects=()):
    """Markers of the checks that artefacts of these kinds passed: a job that uses them waits for it (check.smk).

    One marker an artefact, so that a job is due when those that it reads are, not for the sake of others beside them.
    """
    return [
        marker
        for kind in kinds
        if there_is(kind)
        for marker in PATHS.markers(kind, subjects)
    ]


def there_is(kind):
    """Whether artefacts of this kind, which not every run has, are part of this one."""
    wanted = {
        "bodies": PATHS.bodies is not None,
        "fitted": bool(fitted_files(TEST)),
    }
    return wanted.get(kind, True)


def hmr_prior():
    """The prior that train_hmr listens to; nothing where it does not."""
    return [PATHS.checkpoint("prior")] if CONFIG.hmr.prior_weight else []


def gate_of_hmr_prior():
    """Of that prior."""
    return gate("prior") if hmr_prior() else []


def hmr_encoder():
    """The encoder-decoder whose encoder train_hmr begins with; nothing where it does not."""
    return [PATHS.checkpoint("enc_dec")] if CONFIG.hmr.start == "enc_dec" else []


def gate_of_hmr_encoder():
    """Of that encoder-decoder."""
    return gate("enc_dec") if hmr_encoder() else []


def words_of_hmr_encoder():
    """The option that names it."""
    return ["--enc-dec", *map(str, hmr_encoder())] if hmr_encoder() else []


def gate_of_labels(subjects):
    """Of the bodies of which train_hmr learns."""
    return gate("fitted" if PATHS.fits_bodies else "bodies", subjects=subjects)


def gate_of_indices(wildcards):
    """Of the indices that the subject of a rule is in."""
    return [
        PATHS.checked("index", Path(path).stem.removeprefix("index_"))
        for path in indices_of_subject(wildcards)
    ]


def gate_of_crops(wildcards):
    """Of the indices that the subject of a rule is in, and of its background."""
    return [
        PATHS.checked("backgrounds", f"S{wildcards.subject}"),
        *gate_of_indices(wildcards),
    ]


def rendered(subjects):
    """What stands for the frames of the subjects in the DAG: the file that synthesize or extract writes last."""
    last = {"synthetic": PATHS.truth, "extract": PATHS.extracted}
    kind = CONFIG.dataset.kind
    return each(last[kind], subjects) if kind in last else []


def extracted_bodies(subject):
    """The SMPL parameters that extract writes beside the frames; none where its source has none."""
    return body_files([subject]) if PATHS.extracts_bodies else []


def rendered_split(wildcards):
    """The same for the subjects of a split."""
    return rendered(getattr(CONFIG.split, wildcards.split).subjects)


def split_section(wildcards):
    """Digest of what one split's index depends on: editing split.test leaves the others, and all training, alone."""
    return split_digest(CONFIG, wildcards.split)


def indices_of_subject(wildcards):
    """Indices of the splits that the subject of a rule is in."""
    return [
        PATHS.index(split)
        for split in ("train", "val", "test")
        if int(wildcards.subject) in getattr(CONFIG.split, split).subjects
    ]


def rendered_subject(wildcards):
    """The same for the subject of a rule."""
    return rendered([wildcards.subject])


def label_curve():
    """What the label sweep found; nothing where there is none."""
    return [PATHS.label_curve] if CONFIG.labels.representations else []
