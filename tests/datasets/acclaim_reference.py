"""ASF/AMC positions by plain loops, from the description of the format alone."""

import math
from dataclasses import dataclass, field

Vector = list[float]
Matrix = list[list[float]]


def multiply(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def apply(a: Matrix, v: Vector) -> Vector:
    return [sum(a[i][k] * v[k] for k in range(3)) for i in range(3)]


def transpose(a: Matrix) -> Matrix:
    return [[a[j][i] for j in range(3)] for i in range(3)]


def about(axis: str, degrees: float) -> Matrix:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == "x":
        return [[1, 0, 0], [0, c, -s], [0, s, c]]
    if axis == "y":
        return [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    return [[c, -s, 0], [s, c, 0], [0, 0, 1]]


def zyx(x: float, y: float, z: float) -> Matrix:
    return multiply(about("z", z), multiply(about("y", y), about("x", x)))


@dataclass
class Bone:
    axis: Matrix
    vector: Vector
    dof: list[str] = field(default_factory=list)
    parent: str = "root"


def bones_of(asf: str) -> dict[str, Bone]:
    """Return the bones of an ASF file, parents before children."""
    bones: dict[str, Bone] = {}
    data, _, hierarchy = asf.partition(":bonedata")[2].partition(":hierarchy")
    for block in data.split("begin")[1:]:
        words = {line.split()[0]: line.split()[1:] for line in block.splitlines() if line.split()}
        length = float(words["length"][0])
        bones[words["name"][0]] = Bone(
            axis=zyx(*map(float, words["axis"][:3])),
            vector=[float(part) * length for part in words["direction"]],
            dof=words.get("dof", []),
        )
    ordered: dict[str, Bone] = {}
    for line in hierarchy.splitlines():
        parent, *children = line.split() or ["begin"]
        for child in children:
            bones[child].parent = parent
            ordered[child] = bones[child]
    return ordered


def frames_of(amc: str) -> list[dict[str, Vector]]:
    """Return the values of each bone in each frame of an AMC file."""
    frames: list[dict[str, Vector]] = []
    for line in amc.splitlines():
        words = line.split()
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
        elif frames and words:
            frames[-1][words[0]] = [float(word) for word in words[1:]]
    return frames


def ends_of(bones: dict[str, Bone], frame: dict[str, Vector]) -> dict[str, Vector]:
    """Return the end of each bone in the root's own axes, in the file's units."""
    # The rotation of the root is left out, because data sets remove it.
    turned: dict[str, Matrix] = {"root": zyx(0, 0, 0)}
    ends: dict[str, Vector] = {"root": [0, 0, 0]}
    for name, bone in bones.items():
        values = dict(zip(bone.dof, frame.get(name, []), strict=bool(bone.dof)))
        moved = zyx(*(values.get(f"r{axis}", 0.0) for axis in "xyz"))
        local = multiply(multiply(bone.axis, moved), transpose(bone.axis))
        turned[name] = multiply(turned[bone.parent], local)
        along = apply(turned[name], bone.vector)
        ends[name] = [a + b for a, b in zip(ends[bone.parent], along, strict=True)]
    return ends
