"""What a listener would say of speech that went through us, by PESQ (ITU-T P.862) on recordings."""

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU
from gateway.media.resample import DownSampler, UpSampler
from tests.bench.concealment import RATE_HZ, recordings

pytestmark = pytest.mark.heavy

pesq = pytest.importorskip("pesq", reason="pesq is not installed: pip install '.[quality]' needs a C compiler").pesq

FRAME_SAMPLES = 160
LEG = np.array([0])


def through(speech, law):
    """Speech as G.711, at 24 kHz, and as G.711 again: to the model, and back from one that repeats what it hears."""
    up, down = UpSampler(3, 1), DownSampler(3)
    heard = codec.decode(codec.encode(speech, law) | np.uint16(law.first_code)).reshape(-1, 1, FRAME_SAMPLES)
    model = np.concatenate([up.process(LEG, frame)[0].copy() for frame in heard])
    padded = np.pad(model, (down.lookahead, down.row_samples))
    rows = np.stack([padded[i * down.frame_samples :][: down.row_samples] for i in range(len(heard))])
    return codec.decode(codec.encode(down.process(rows), law) | np.uint16(law.first_code)).reshape(-1)


@pytest.mark.parametrize("law", [PCMU, PCMA], ids=["PCMU", "PCMA"])
@pytest.mark.parametrize("name", ["man", "woman"])
def test_g711_to_the_model_and_back_keeps_a_mos_of_4_1(name, law):
    speech = recordings()[name]
    assert pesq(RATE_HZ, speech, through(speech, law), "nb") >= 4.1
