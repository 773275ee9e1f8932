"""Motion data: skeletons, kinematics, windows, the DCT, seeds.

``mechanisms`` hides entries of windows; ``corruptions`` makes whole windows anomalous. Motion is
float32 ``(window, frame, joint, 3)`` in millimetres, root-centred, with the root's rotation
removed. This package imports ``bench.core`` only.
"""

from bench.motion.clips import Clips, Recordings
from bench.motion.dct import dct_matrix
from bench.motion.kinematics import forward_kinematics, mirrored, rotation_matrices
from bench.motion.seeds import derive_seed
from bench.motion.skeleton import Skeleton
from bench.motion.windows import MotionSpec, Windows, from_nodes, to_nodes

__all__ = [
    "Clips",
    "MotionSpec",
    "Recordings",
    "Skeleton",
    "Windows",
    "dct_matrix",
    "derive_seed",
    "forward_kinematics",
    "from_nodes",
    "mirrored",
    "rotation_matrices",
    "to_nodes",
]
