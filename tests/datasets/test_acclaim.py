"""Acclaim files: their numbers, the positions of the body, and damage."""

import math
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.datasets.acclaim import read_skeleton
from bench.datasets.acclaim_motion import AcclaimMotion, read_motion
from bench.datasets.archive import File
from bench.motion import forward_kinematics, rotation_matrices
from tests.datasets.acclaim_text import Rig, TextBone, Vector, rig_of, words_of

Frames = list[dict[str, Vector]]
ANGLE = st.floats(-400, 400, allow_nan=False).map(lambda angle: round(angle, 4))
ORDER = st.permutations("XYZ").map("".join)


@st.composite
def _rigs(draw: st.DrawFn) -> tuple[Rig, Frames]:
    """Draw a tree of a few bones with any axes and degrees of freedom, and two or three frames."""
    triple = st.tuples(ANGLE, ANGLE, ANGLE)
    bones: list[TextBone] = []
    for number in range(draw(st.integers(1, 6))):
        tilt, turn = (math.radians(draw(ANGLE)) for _ in range(2))
        level = math.cos(tilt)
        bones.append(
            TextBone(
                name=f"bone{number}",
                parent=draw(st.sampled_from(["root", *(bone.name for bone in bones)])),
                direction=(level * math.cos(turn), math.sin(tilt), level * math.sin(turn)),
                length=draw(st.floats(0.1, 10)),
                axis=draw(triple),
                axis_order=draw(ORDER),
                dof=tuple(draw(st.permutations(["rx", "ry", "rz"]))[: draw(st.integers(0, 3))]),
            )
        )
    moving = [bone for bone in bones if bone.dof]
    rig = Rig(
        bones=tuple(bones),
        order=tuple(draw(st.permutations(["TX", "TY", "TZ", "RX", "RY", "RZ"]))),
        orientation=draw(triple),
        orientation_order=draw(ORDER),
        radians=draw(st.booleans()),
        newline=draw(st.sampled_from(["\n", "\r\n"])),
        lines=tuple(draw(st.permutations(["root", *(bone.name for bone in moving)]))),
    )
    counts = {"root": 6} | {bone.name: len(bone.dof) for bone in moving}
    frames: Frames = [
        {name: [draw(ANGLE) for _ in range(count)] for name, count in counts.items()}
        for _ in range(draw(st.integers(2, 3)))
    ]
    return rig, frames


def _ends(motion: AcclaimMotion) -> dict[str, np.ndarray]:
    """Return the ``(frame, 3)`` end of each bone, mm."""
    skeleton = motion.skeleton.skeleton
    placed = forward_kinematics(rotation_matrices(motion.vectors), skeleton)
    starts = {bone.parent: bone.name for bone in motion.skeleton.bones}
    return {
        bone.name: placed[:, skeleton.names.index(starts.get(bone.name, f"{bone.name} end"))]
        for bone in motion.skeleton.bones
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_rigs())
def test_any_rig_has_the_positions_that_plain_loops_give(
    tmp_path: Path, drawn: tuple[Rig, Frames]
) -> None:
    rig, frames = drawn
    asf, amc = rig.write(tmp_path, frames)
    motion = read_motion(File(amc), read_skeleton(File(asf)))
    placed = _ends(motion)
    assert len(motion) == len(frames)
    for number, frame in enumerate(frames):
        for name, end in rig.ends(frame).items():
            if name != "root":
                np.testing.assert_allclose(placed[name][number], end, atol=1e-6)


def test_a_real_motion_has_the_positions_that_plain_loops_give(real_data: Path) -> None:
    with zipfile.ZipFile(real_data / "cmu_asfamc.zip") as archive:
        folder = "all_asfamc/subjects/16/16"
        rig = rig_of(archive.read(f"{folder}.asf").decode())
        frames = words_of(archive.read(f"{folder}_15.amc").decode())
    motion = _real(real_data, "cmu_asfamc.zip", f"{folder}_15.amc", f"{folder}.asf")
    placed = _ends(motion)
    assert len(placed) == 30
    for number in range(0, len(frames), 50):
        for name, end in rig.ends(frames[number]).items():
            if name != "root":
                np.testing.assert_allclose(placed[name][number], end, atol=1e-6)


@pytest.mark.parametrize(
    ("archive", "folder", "skeleton", "member"),
    [
        ("cmu_asfamc.zip", "all_asfamc/subjects/02", "02.asf", "02_01.amc"),  # ends of lines LF
        ("cmu_asfamc.zip", "all_asfamc/subjects/135", "135.asf", "135_02.amc"),  # CRLF
        ("hdm05_asfamc.zip", "hdm05_asfamc/dg", "HDM_dg.asf", "HDM_dg_squat1Reps_026_120.amc"),
    ],
)
def test_every_number_of_a_real_motion(
    real_data: Path, archive: str, folder: str, skeleton: str, member: str
) -> None:
    member = f"{folder}/{member}"
    motion = _real(real_data, archive, member, f"{folder}/{skeleton}")
    with zipfile.ZipFile(real_data / archive) as opened:
        frames = words_of(opened.read(member).decode("latin-1"))
    assert len(motion) == len(frames)
    assert sum(values.shape[1] for values in motion.values.values()) == 62
    for name, values in motion.values.items():
        expected = np.array([frame[name] for frame in frames])
        angles = slice(3, None) if name == "root" else slice(None)
        expected[:, angles] = np.radians(expected[:, angles])
        np.testing.assert_allclose(values, expected, rtol=1e-13)


HIP = TextBone("hip", "root", (1, 0, 0), 1.0)
THIGH = TextBone("thigh", "hip", (0.6, -0.8, 0), 7.0, (0, 0, 20), "XYZ", ("rx", "ry", "rz"))
SHIN = TextBone("shin", "thigh", (0, -1, 0), 7.0, (0, 0, 20), "XYZ", ("rx",))
LEG = Rig((HIP, THIGH, SHIN))
STEPS: Frames = [
    {"root": [n, 17, -3, 1, 2, 3], "thigh": [-20.5, n, 3], "shin": [n / 8]} for n in range(1, 6)
]


def _read_leg(folder: Path, asf: str, amc: str) -> AcclaimMotion:
    (folder / "leg.asf").write_bytes(asf.encode("latin-1"))
    (folder / "leg.amc").write_bytes(amc.encode("latin-1"))
    return read_motion(File(folder / "leg.amc"), read_skeleton(File(folder / "leg.asf")))


def test_lengths_limits_and_frame_rate_are_read(tmp_path: Path) -> None:
    asf = LEG.asf().replace("(-inf inf)", "(-160.0 20.0)", 1)
    amc = LEG.amc(STEPS).replace(":DEGREES", ":DEGREES\n:SAMPLES-PER-SECOND 60")
    motion = _read_leg(tmp_path, asf, amc)
    hip, thigh, shin = motion.skeleton.bones
    assert motion.fps == 60
    np.testing.assert_allclose(np.linalg.norm(shin.vector), 7 * 56.4444, atol=1e-3)
    np.testing.assert_allclose(motion.translation[2], np.array([3, 17, -3]) * 25.4 / 0.45)
    assert thigh.limits[0] == pytest.approx((-160 * np.pi / 180, 20 * np.pi / 180))
    assert hip.limits == ()
    assert motion.skeleton.skeleton.names == ("root", "hip", "thigh", "shin", "shin end")


def test_comments_blank_lines_and_odd_spaces_are_ignored(tmp_path: Path) -> None:
    original = _read_leg(tmp_path, LEG.asf(), LEG.amc(STEPS))
    odd = (
        LEG.amc(STEPS)
        .replace("\n3\n", " \n\n# f\xfcr\x85 7\n\t3  \n")
        .replace("shin ", "  shin\t ")
    )
    odd = odd.replace("#!OML", "#\x85!OML")
    assert len(odd) > len(LEG.amc(STEPS))
    np.testing.assert_array_equal(_read_leg(tmp_path, LEG.asf(), odd).vectors, original.vectors)


def test_motion_may_begin_at_any_frame_number(tmp_path: Path) -> None:
    amc = LEG.amc(STEPS)
    later = amc
    for number in range(5, 0, -1):
        later = later.replace(f"\n{number}\n", f"\n{number + 41}\n")
    np.testing.assert_array_equal(
        _read_leg(tmp_path, LEG.asf(), later).vectors, _read_leg(tmp_path, LEG.asf(), amc).vectors
    )


def test_a_start_held_at_zero_is_left_out(tmp_path: Path) -> None:
    held: Frames = [{**step, "thigh": [0, 0, 0]} for step in STEPS[:2]]
    motion = _read_leg(tmp_path, LEG.asf(), LEG.amc([*held, *STEPS[2:]]))
    assert len(motion.without_held_start()) == 3
    np.testing.assert_array_equal(motion.without_held_start().vectors, motion.vectors[2:])
    # A single zero angle is a straight knee; a bone that is zero throughout does not move; a zero
    # later in the motion is not at its start.
    straight: Frames = [{**step, "shin": [0]} for step in STEPS[:2]]
    still: Frames = [{**step, "thigh": [0, 0, 0]} for step in STEPS]
    for frames in ([*straight, *STEPS[2:]], still, [STEPS[2], *held, *STEPS[:2]]):
        whole = _read_leg(tmp_path, LEG.asf(), LEG.amc(frames))
        assert len(whole.without_held_start()) == 5


def _put(old: str, new: str, times: int = 1) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, times)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: text.rindex(" ")], "frame 5 .* expected"),
        (lambda text: text[: text.rindex("shin")], "the end"),
        (lambda text: "", "no frame"),
        (lambda text: text.split("\n1\n")[0] + "\n", "no frame"),
        (_put("\n4\n", "\n"), "frame 4 of the file: 'root 4"),
        (_put("\n4\n", "\n5\n"), "frame 4 .* does not follow"),
        (_put("\nshin 0.375", ""), "frame 3"),
        (_put("shin 0.375", "shin"), "frame 3 .* 'shin', expected shin and 1"),
        (_put("shin 0.375", "shin 0.375 1"), "frame 3"),
        (_put("shin 0.375", "shim 0.375"), "frame 3 .* 'shim 0.375'"),
        (_put("shin 0.375", "shins 0.375"), "frame 3"),
        (_put("shin 0.375", "shin nan"), "frame 3 .* 'shin nan'"),
        (_put("shin 0.375", "shin -inf"), "frame 3"),
        (_put("shin 0.375", "shin 1e999"), "frame 3 .* too large"),
        (_put("shin 0.375", "shin 1e9"), "frame 3: shin turns without end"),
        (_put("shin 0.375", "shin 0.3.75"), "no number, or two"),
        (_put("shin 0.375", "shin 0-375"), "no number, or two"),
        (_put("shin 0.375", "shin e"), "no number, or two"),
        (_put("shin 0.375", "shin word"), "frame 3"),
        (_put("shin 0.375", "shin 0.3\x00"), "frame 3"),
        (_put("\nthigh", "\nthig", 9), "lacks 'thigh'"),
        (_put("\nthigh", "\nshin 1\nthigh", 9), "has 'shin'"),
        (_put("\nthigh", "\nfoot 1\nthigh", 9), "has 'foot'"),
        (_put(":DEGREES", ""), "neither :DEGREES nor :RADIANS"),
        (_put(":DEGREES", ":DEGREES\n:RADIANS"), ":RADIANS"),
        (_put(":DEGREES", ":DEGREES\n:SAMPLES-PER-SECOND 0"), "0 frames per second"),
        (_put(":DEGREES", ":DEGREES\nwhat"), "'what' before the first frame"),
    ],
)
def test_a_damaged_motion_is_refused_with_its_name(
    tmp_path: Path, damage: Callable[[str], str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        _read_leg(tmp_path, LEG.asf(), damage(LEG.amc(STEPS)))
    assert str(tmp_path / "leg.amc") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "no :hierarchy"),
        (lambda text: text.rsplit("end", 1)[0], "cut short in :hierarchy"),
        (lambda text: "", "no :units"),
        (lambda text: text + "# " + "x" * 2**20, "larger than 1 MiB"),
        (_put("angle deg", "angle grad"), "neither deg nor rad"),
        (_put("length 0.45", "length 0"), "length of :units is 0"),
        (_put("length 0.45", "length nan"), "finite number"),
        (_put("order TX", "order TY"), "order of :root"),
        (_put("axis XYZ", "axis XYX"), "the order 'XYX'"),
        (_put("length 7.0", "length seven"), "'seven' in place of a number"),
        (_put("length 7.0", "length 7_0"), "'7_0' in place of a number"),
        (_put("length 7.0", "length 1e300"), "finite number"),
        (_put("length 7.0", "length 1e30"), "bone thigh is"),
        (_put("direction 0.6", "direction 1e99"), "no unit vector"),
        (_put("length 7.0", "length -7.0"), "bone thigh is"),
        (_put("direction 0.6", "direction 0.7"), "no unit vector"),
        (_put("direction 0.6", "direction"), "2 numbers, expected 3"),
        (_put("direction 0.6", "directon 0.6"), "unknown line"),
        (_put("dof rx ry rz", "dof rx ry tz"), "bone thigh changes its length"),
        (_put("dof rx ry rz", "dof rx ry l"), "bone thigh changes its length"),
        (_put("dof rx ry rz", "dof rx ry rx"), "dof of thigh"),
        (_put("dof rx ry rz", "dof rx ry"), "6 limits of thigh, expected 4"),
        (_put("axis 0 0 20", "axis 0 0"), "axis of thigh"),
        (_put("axis 0 0 20", "axis 0 0 1e20"), "turns without end"),
        (_put("name shin", "name thigh"), "'thigh'"),
        (_put("name shin", "name root"), "'root'"),
        (_put("name shin", "name foot"), "no place in :hierarchy"),
        (_put("thigh shin", "thigh shin toe"), "'toe', which :bonedata lacks"),
        (_put("thigh shin", "shin shin"), "does not lead from the root to 'shin'"),
        (_put("hip thigh", "shin thigh"), "does not lead from the root"),
        (_put("thigh shin", "thigh shin\nhip shin"), "'shin' twice"),
        (_put("  end", ""), "'begin' in a wrong place"),
        (_put(":root", ":root\n:root"), ":root twice"),
    ],
)
def test_a_damaged_skeleton_is_refused_with_its_name(
    tmp_path: Path, damage: Callable[[str], str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        _read_leg(tmp_path, damage(LEG.asf()), LEG.amc(STEPS))
    assert str(tmp_path / "leg.asf") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_motion_of_another_skeleton_is_refused(tmp_path: Path) -> None:
    other = replace(LEG, bones=(HIP, THIGH, replace(SHIN, dof=("rx", "rz"))))
    with pytest.raises(InputError, match="shin and 2"):
        _read_leg(tmp_path, other.asf(), LEG.amc(STEPS))


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_to_a_real_clip_is_refused_or_harmless(
    real_data: Path, tmp_path: Path, seed: int
) -> None:
    folder = "hdm05_asfamc/bk/HDM_bk"
    with zipfile.ZipFile(real_data / "hdm05_asfamc.zip") as archive:
        whole = archive.read(f"{folder}_squat1Reps_013_120.amc")
        skeleton = archive.read(f"{folder}.asf")
    chance = random.Random(seed)
    asf, amc = tmp_path / "a.asf", tmp_path / "a.amc"
    refusals = []
    for number in range(12):
        texts = {asf: bytearray(skeleton), amc: bytearray(whole[: 60_000 + seed])}
        text = list(texts.values())[number % 2]
        del texts[amc][texts[amc].rindex(b"\n") + 1 :]
        kind = chance.choice(["flip", "cut", "lose", "double", "noise"])
        first = chance.randrange(len(text))
        last = min(first + chance.randrange(1, 200), len(text))
        if kind == "flip":
            text[first] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del text[first:]
        elif kind == "lose":
            del text[first:last]
        elif kind == "double":
            text[first:first] = text[first:last]
        else:
            text[first:last] = chance.randbytes(last - first)
        asf.write_bytes(texts[asf])
        amc.write_bytes(texts[amc])
        try:
            motion = read_motion(File(amc), read_skeleton(File(asf)))
        except InputError as error:
            refusals.append(str(error))
            continue
        # A digit or a comment was changed, or whole frames were cut off.
        placed = forward_kinematics(rotation_matrices(motion.vectors), motion.skeleton.skeleton)
        assert np.isfinite(placed).all()
        assert placed.shape[1:] == (38, 3)
        assert len(motion) <= whole[:60_100].count(b"root")
    assert refusals
    assert all(str(tmp_path) in refusal and "\n" not in refusal for refusal in refusals)


def _real(real_data: Path, archive: str, member: str, skeleton: str) -> AcclaimMotion:
    place = real_data / archive
    return read_motion(File(place, member), read_skeleton(File(place, skeleton)))
