"""The same person in the same pose before the same camera, but for one thing: the clothes, or the light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codebase.synthetic.appearance import dress
from codebase.synthetic.bodies import make_person
from codebase.synthetic.capture import Session, View, expose
from codebase.synthetic.rooms import Lights, make_room, render_room

# how far other light is from the session's: place of the key light in metres, the others as deviations of logarithms
KEY_M, KEY_GAIN, WARMTH, SKY_GAIN = 1.0, 0.45, 0.12, 0.35


def in_clothes_of(session: Session, subject: int) -> Session:
    """The session's person in another subject's top, bottom and shoes; body, skin and hair stay.

    A take of the session serves after `capture.with_what_hangs`.
    """
    other = make_person(subject, seed=session.seed)
    person = replace(session.person, top=other.top, bottom=other.bottom, shoe=other.shoe, skirt=other.skirt)
    return replace(session, person=person, outfit=dress(session.body, person))


def in_light(session: Session, number: int) -> Session:
    """The session under other lamps: key light elsewhere, brighter or darker, warmer or colder; rooms rendered anew."""
    rng = np.random.default_rng([session.seed, session.subject, 75, number])
    was = session.lights
    place = was.key_m + rng.normal(0, KEY_M, 3) * [1, 1, 0]
    tint = np.array([1, 0, -1]) * rng.normal(0, WARMTH)
    lights = Lights(
        key_m=place,
        key=was.key * (1 + tint) * np.exp(rng.normal(0, KEY_GAIN)),
        sky=was.sky * (1 + tint) * np.exp(rng.normal(0, SKY_GAIN)),
        bounce=was.bounce,
    )
    room = replace(make_room(session.subject, seed=session.seed), lights=lights)
    views = {}
    for camera, view in session.views.items():
        linear = render_room(room, view.camera)
        views[camera] = View(view.camera, linear, expose(linear, session.table), view.vignette)
    return replace(session, lights=lights, views=views)
