"""A recording to deliver: a real WAV file of some MB, and the companion that describes it."""

import array
import io
import json
import math
import wave

RATE = 16_000
SECONDS = 60
CHANNELS = 2  # agent and customer


def wav():
    """One minute of 16-bit stereo, about 3.8 MB: a voice-like warble on each side, speaking in turn."""
    turn = RATE * 4
    samples = array.array("h", bytes(2 * CHANNELS * RATE * SECONDS))
    for frame in range(RATE * SECONDS):
        side = (frame // turn) % CHANNELS
        pitch = (140, 220)[side] * (1 + 0.05 * math.sin(2 * math.pi * 3 * frame / RATE))
        loudness = 9000 * abs(math.sin(math.pi * 2.5 * frame / RATE))
        samples[CHANNELS * frame + side] = int(loudness * math.sin(2 * math.pi * pitch * frame / RATE))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(CHANNELS)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def companion(name):
    call = {"recording": name, "direction": "outbound", "agent": "agent@example.com", "durationSeconds": SECONDS}
    return json.dumps(call, indent=2).encode() + b"\n"
