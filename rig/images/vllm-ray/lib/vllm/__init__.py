# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for vLLM on the rig: its command line, logs, life cycle and HTTP API over a real Ray cluster, without a GPU.

Imitated (vLLM 0.26 to 0.32, executor RayExecutorV2): placement group of one GPU per rank and its messages; driver's
node first, then by node ID; one light actor per rank that reads its stage's tensors on its own node; an index that
names an absent file is refused; the port is bound before loading and listens after; API keys guard /v1 only;
--middleware is imported and asked first; a completion passes every rank; when a rank dies, /health is 503 and the
program ends with exit code 0.

Not imitated: arithmetic (text is made of digests of the weights, the same for every division into stages), memory,
speed.
"""

import os

# The version that the stand-in plays: of the ray-llm image for Ray 2.58 unless told otherwise.
__version__ = os.environ.get("RIG_VLLM_VERSION", "0.26.0")
