"""CMU's own files: comparison with exponential maps of the same captures; splits, skeletons."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.core.errors import InputError
from bench.datasets.acclaim import read_skeleton
from bench.datasets.acclaim_body import MEAN, MEAN_BONES, SKELETON, body_positions
from bench.datasets.acclaim_motion import AcclaimMotion, read_motion
from bench.datasets.archive import File, tree
from bench.datasets.build import load
from bench.datasets.cmu import CMU, action_of, split_of
from bench.datasets.cmu_actions import ACTION_OF, TRIALS
from bench.datasets.cmu_expmap import (
    FULL_SKELETON,
    MM_PER_UNIT,
    corrected_root,
    joint_rotations,
    rows_of,
)
from bench.motion import forward_kinematics, rotation_matrices
from bench.motion.body import KEPT

SUBJECTS = "all_asfamc/subjects"
ARCHIVES = ("cmu_asfamc.zip", "cmu_asfamc_more.zip")
DESCRIBED_OTHERWISE = {"29_04", "29_05", "29_09", "29_11", "35_12", "35_16"}
"""Trials that the index describes in more or other words than their owner."""

# The bone that starts at each joint of the exponential-map files, in the files' order.
BONES = """
    root lhipjoint lfemur ltibia lfoot ltoes . rhipjoint rfemur rtibia rfoot rtoes .
    lowerback upperback thorax lowerneck upperneck head .
    lclavicle lhumerus lradius lwrist lhand lfingers . lthumb .
    rclavicle rhumerus rradius rwrist rhand rfingers . rthumb .
""".split()  # noqa: SIM905
TURNING = [joint for joint, bone in enumerate(BONES) if bone not in (".", "root")]


@pytest.fixture(scope="module")
def captures(real_data: Path) -> list[tuple[str, Path]]:
    """The trials that also exist as exponential maps, and the files of these."""
    index = pd.read_csv(real_data / "index.csv", dtype=str, keep_default_na=False)
    index = index[index["path"].str.startswith("cmu_asfamc/")]
    found = []
    for trial, capture in zip(index["trial"], index["same_capture_as_expmap"], strict=True):
        name, _, rebuilt = capture.partition(" ")
        folder = "cmu_expmap_rebuilt" if rebuilt else "cmu_expmap"
        if capture and (path := real_data / folder / f"{name}.txt").is_file():
            found.append((trial, path))
    return found


def _placed(vectors: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return ``(frame, 3)`` positions of each of the 18 joints on the common skeleton."""
    positions = body_positions(rotation_matrices(vectors), MEAN)
    return dict(zip(KEPT, positions.swapaxes(0, 1), strict=True))


def _motion(real_data: Path, trial: str, archive: str = "cmu_asfamc.zip") -> AcclaimMotion:
    subject = trial.split("_")[0]
    place = real_data / archive
    skeleton = read_skeleton(File(place, f"{SUBJECTS}/{subject}/{subject}.asf"))
    return read_motion(File(place, f"{SUBJECTS}/{subject}/{trial}.amc"), skeleton)


def _degrees(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles between rotation vectors."""
    turned = Rotation.from_rotvec(first.reshape(-1, 3)).inv()
    between = turned * Rotation.from_rotvec(second.reshape(-1, 3))
    return np.degrees(between.magnitude())


def test_both_formats_of_a_capture_have_the_same_joint_rotations(
    real_data: Path, captures: list[tuple[str, Path]]
) -> None:
    assert len(captures) == 17
    for trial, path in captures:
        rows = rows_of(File(path))
        theirs = joint_rotations(rows)
        motion = _motion(real_data, trial)
        ours = motion.vectors
        assert len(theirs) == len(ours), trial  # their T-pose left out
        some = slice(None, None, 5)
        joints = [MEAN.names.index(BONES[joint]) for joint in TURNING]
        assert _degrees(theirs[some, TURNING], ours[some][:, joints]).max() < 2e-4, trial
        assert _degrees(corrected_root(theirs[:, 0]), ours[:, 0]).max() < 2e-3, trial
        moved = rows[1:, :3] * MM_PER_UNIT - motion.translation
        assert np.abs(moved).max() < 0.05, trial  # they have four decimals of a unit


def test_both_formats_of_a_capture_give_the_same_positions_on_one_skeleton(
    real_data: Path, captures: list[tuple[str, Path]]
) -> None:
    for trial, path in captures:
        theirs = joint_rotations(rows_of(File(path)))[::20]
        ours = np.zeros_like(theirs)
        joints = [MEAN.names.index(BONES[joint]) for joint in TURNING]
        ours[:, TURNING] = _motion(real_data, trial).vectors[::20][:, joints]
        theirs[:, 0] = 0
        placed = forward_kinematics(rotation_matrices(np.stack([theirs, ours])), FULL_SKELETON)
        assert np.linalg.norm(placed[0] - placed[1], axis=-1).max() < 0.01, trial


def test_the_published_skeleton_lacks_two_bones_of_the_owner_s() -> None:
    """The conversion to BVH gives the thorax and the wrists no length; nothing else differs."""
    without_length = {
        BONES[parent]
        for joint, parent in enumerate(FULL_SKELETON.parents)
        if parent > 0 and not FULL_SKELETON.offsets[joint].any()
    }
    assert without_length == {"thorax", "lwrist", "rwrist"}
    for bone in ("thorax", "lwrist", "rwrist"):
        assert np.linalg.norm(MEAN_BONES[bone][1]) > 90


def test_the_common_skeleton_is_the_mean_of_the_subjects(real_data: Path) -> None:
    skeletons = [read_skeleton(file) for file in tree(real_data / "cmu_asfamc.zip", ".asf")]
    assert len(skeletons) == 19
    for number, (name, (parent, vector)) in enumerate(MEAN_BONES.items()):
        bones = [skeleton.bones[number] for skeleton in skeletons]
        assert {(bone.name, bone.parent) for bone in bones} == {(name, parent)}
        mean = np.mean([bone.vector for bone in bones], axis=0)
        np.testing.assert_allclose(vector, mean, atol=0.0051)


def test_the_rest_pose_faces_forward_with_its_left_to_the_left() -> None:
    rest = dict(zip(SKELETON.names, SKELETON.rest, strict=True))
    assert SKELETON.names == KEPT
    for left, right in SKELETON.pairs:
        assert rest[left][0] > 50 > -50 > rest[right][0]
    for side in ("left", "right"):
        toes = rest[f"{side}_foot"] - rest[f"{side}_ankle"]
        assert toes[2] > 100 > abs(toes[0])
        assert rest[f"{side}_ankle"][1] < rest[f"{side}_knee"][1] < 0 < rest["spine2"][1]
        collar, shoulder = rest[f"{side}_collar"], rest[f"{side}_shoulder"]
        np.testing.assert_allclose(collar - rest["spine3"], (shoulder - rest["spine3"]) / 3)
    assert rest["spine2"][1] < rest["spine3"][1] < rest["neck"][1] < rest["head"][1]


def test_collars_rotate_only_with_the_chest() -> None:
    still = np.zeros((2, len(MEAN), 3))
    vectors = still.copy()
    vectors[1, MEAN.names.index("lclavicle")] = 0, 0, 0.5
    vectors[1, MEAN.names.index("lowerneck")] = 0.5, 0, 0
    placed = _placed(vectors)
    for name in ("left_collar", "right_collar", "spine3"):
        np.testing.assert_array_equal(placed[name][0], placed[name][1])
    vectors = still.copy()
    vectors[1, MEAN.names.index("thorax")] = 0, 0.5, 0
    placed = _placed(vectors)
    assert np.linalg.norm(placed["left_collar"][1] - placed["left_collar"][0]) > 25


def test_orientations_are_rotations_of_the_same_motion(real_data: Path) -> None:
    read = {}
    for orientation in ("removed", "facing_removed", "kept"):
        data = CMU.model_validate({"orientation": orientation})
        sources = {source.name: source for source in data.sources(real_data)}
        read[orientation] = data.read(sources["49_02"]).astype(np.float64)
    root = Rotation.from_rotvec(_motion(real_data, "49_02").vectors[::24, 0])
    for number, turn in enumerate(root):  # every 24th of 120 is every 5th of 25
        body = read["removed"][5 * number]
        np.testing.assert_allclose(read["kept"][5 * number], turn.apply(body), atol=0.01)
        leaning = read["facing_removed"][5 * number]
        np.testing.assert_allclose(leaning[:, 1], read["kept"][5 * number, :, 1], atol=0.01)
        # Forward, projected to the ground, points forward; axes are fitted to both poses.
        fit, _ = Rotation.align_vectors(leaning, body)
        assert abs(np.degrees(np.arctan2(*fit.apply([0, 0, 1])[[0, 2]]))) < 0.1


def test_own_bones_have_the_subject_s_lengths_and_the_common_skeleton_its_own(
    real_data: Path,
) -> None:
    for bones in ("one", "own"):
        data = CMU.model_validate({"bones": bones})
        sources = {source.name: source for source in data.sources(real_data)}
        for trial in ("16_35", "49_02"):
            source = sources[trial]
            motion = data.read(source)
            if bones == "one":
                length = np.linalg.norm(MEAN_BONES["lhumerus"][1])
            else:
                subject = read_skeleton(data.skeleton_file(source))
                own = {bone.name: bone.vector for bone in subject.bones}
                length = np.linalg.norm(own["lhumerus"])
                assert abs(length - np.linalg.norm(MEAN_BONES["lhumerus"][1])) > 1
            elbow, shoulder = KEPT.index("left_elbow"), KEPT.index("left_shoulder")
            lengths = np.linalg.norm(motion[:, elbow] - motion[:, shoulder], axis=-1)
            np.testing.assert_allclose(lengths, length, atol=1e-3)


def test_a_tenth_of_the_recordings_can_be_read(real_data: Path) -> None:
    data = CMU()
    sources = data.sources(real_data)
    assert len(sources) == len({source.name for source in sources}) == 250
    assert {source.file.path.name for source in sources if source.file} == set(ARCHIVES)
    for source in sources[::10]:
        motion = data.read(source)
        assert np.isfinite(motion).all()
        assert source.file
        frames = len(_motion(real_data, source.name, source.file.path.name))
        assert len(motion) == pytest.approx((frames - 1) / 120 * 25 + 1, abs=1.6)


def test_leading_frames_at_zero_are_removed(real_data: Path) -> None:
    data = CMU(fps=120)
    sources = {source.name: source for source in data.sources(real_data)}
    left = {"03_02": 50, "16_15": 7, "16_23": 3, "16_28": 6, "07_05": 7}
    for trial, held in left.items():
        motion = data.read(sources[trial])
        assert len(motion) == len(_motion(real_data, trial)) - held
        # No joint jumps between two frames.
        assert np.linalg.norm(np.diff(motion[:10], axis=0), axis=-1).max() < 100


def test_no_subject_is_in_two_splits(real_data: Path) -> None:
    sides: dict[str, set[str]] = {}
    for source in CMU().sources(real_data):
        sides.setdefault(source.subject, set()).add(source.split)
    assert len(sides) == 19
    assert all(len(split) == 1 for split in sides.values())
    assert sides["60"] == sides["61"]
    assert {split for (split,) in sides.values()} == {"train", "valid", "test"}
    for partners in ((18, 19), (20, 21), (22, 23), (33, 34), (60, 61)):
        assert len({split_of(str(partner)) for partner in partners}) == 1
    assert [split_of(name) for name in ("07", "35", "01", "08", "02", "21", "135")] == [
        *("test", "test", "valid", "valid", "train", "train", "train")
    ]


@pytest.mark.parametrize(
    ("description", "action"),
    [
        ("walk on uneven terrain", "walking"),
        ("run/jog (straight / veer / turns / sudden stop)", "running"),
        ("jump up and down, hop on one foot", "jumping"),
        ("jumping jacks, side twists, bend over, jog", "exercising"),
        ("chicken dance (2 subjects - subject A)", "dancing"),
        ("soccer - kick ball", "soccer"),
        ("Front Kick", "fighting"),
        ("wash windows", "washing"),
        ("sidewalk", ""),
        ("", ""),
    ],
)
def test_descriptions_become_actions(description: str, action: str) -> None:
    assert action_of(description) == action


def test_actions_come_from_the_index_where_there_is_one(real_data: Path, tmp_path: Path) -> None:
    with_index = CMU().sources(real_data)
    # Calibrations, and descriptions of no known action.
    without = {source.name for source in with_index if not source.action}
    assert without == {"131_05", "131_06", "135_08", "14_17", "14_18", "14_19"}
    alone = {source.name: source.action for source in CMU().sources(_some(real_data, tmp_path))}
    assert alone == {"01_01": "jumping", "02_01": "walking", "07_01": "walking"}
    (tmp_path / "index.csv").write_text("path,description\nsubjects/07/07_01.amc,salsa dance\n")
    actions = {source.name: source.action for source in CMU().sources(tmp_path)}
    assert actions == alone | {"07_01": "dancing"}
    for broken in ("path,what\na,b\n", "", 'path,description\n"a,b\n', "\xff\xfe\0"):
        (tmp_path / "index.csv").write_bytes(broken.encode("latin-1"))
        with pytest.raises(InputError, match=r"index\.csv: (no column|line 2 has 1 cells)"):
            CMU().sources(tmp_path)


def test_folders_and_archives_give_the_same_windows(real_data: Path, tmp_path: Path) -> None:
    folder = _some(real_data, tmp_path / "a")
    archived = tmp_path / "b"
    archived.mkdir()
    shutil.make_archive(str(archived / "allasfamc"), "zip", folder, "all_asfamc")
    subjects = folder / "all_asfamc" / "subjects"
    settings = CMU(frames=30)
    built = [
        load(settings, root, tmp_path / f"cache{number}")
        for number, root in enumerate([folder, folder / "all_asfamc", subjects, archived])
    ]
    for other in built[1:]:
        for split, windows in built[0].splits.items():
            assert len(windows)
            np.testing.assert_array_equal(windows.motion, other.splits[split].motion)
            pd.testing.assert_frame_equal(windows.index, other.splits[split].index)


def test_a_changed_skeleton_changes_the_fingerprint(real_data: Path, tmp_path: Path) -> None:
    folder = _some(real_data, tmp_path / "a")
    first = load(CMU(frames=30), folder, tmp_path / "cache")
    asf = folder / SUBJECTS / "02" / "02.asf"
    assert asf in CMU().files(folder)
    asf.write_text(asf.read_text().replace("axis 0 0 20", "axis 0 0 21"))
    assert load(CMU(frames=30), folder, tmp_path / "cache").fingerprint != first.fingerprint


def test_unusable_files_are_reported_and_left_out(real_data: Path, tmp_path: Path) -> None:
    folder = _some(real_data, tmp_path / "a")
    damaged = folder / SUBJECTS / "02" / "02_02.amc"
    damaged.write_bytes((folder / SUBJECTS / "02" / "02_01.amc").read_bytes()[:50_000])
    orphan = folder / SUBJECTS / "03" / "03_01.amc"
    orphan.parent.mkdir()
    shutil.copy(folder / SUBJECTS / "02" / "02_01.amc", orphan)
    data = load(CMU(frames=30), folder, tmp_path / "cache")
    assert set(data.skipped) == {"02_02", "03_01"}
    assert str(damaged) in data.skipped["02_02"]
    assert "03.asf" in data.skipped["03_01"]
    with pytest.raises(InputError, match=r"02_02\.amc"):
        load(CMU(frames=30), folder, tmp_path / "cache", strict=True)
    asf = folder / SUBJECTS / "02" / "02.asf"
    asf.write_text(asf.read_text().replace("rfoot rtoes", "rtibia rtoes"))
    source = next(one for one in CMU().sources(folder) if one.name == "02_01")
    with pytest.raises(InputError, match="not the 30 bones"):
        CMU().read(source)


def test_the_message_for_a_missing_root_states_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-root"):
        CMU().sources(None)
    with pytest.raises(InputError, match="no folder"):
        CMU().sources(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no recording under"):
        CMU().sources(tmp_path)
    (tmp_path / "allasfamc.zip").write_bytes(b"PK\x03\x04 half of it")
    with pytest.raises(InputError, match="not a whole zip archive"):
        CMU().sources(tmp_path)


def test_names_that_are_not_trials_are_ignored(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "allasfamc.zip", "w") as archive:
        for name in ("01/01_01", "01/notes", "01/01_01_copy", f"9/{'9' * 5000}_01", "../../02_01"):
            archive.writestr(f"{SUBJECTS}/{name}.amc", "")
    sources = CMU().sources(tmp_path)
    assert [source.name for source in sources] == ["01_01", "02_01"]
    for source in sources:
        with pytest.raises(InputError, match=r"\.asf"):
            CMU().read(source)


def _some(real_data: Path, folder: Path) -> Path:
    """Unpack a recording of each split."""
    with zipfile.ZipFile(real_data / "cmu_asfamc.zip") as archive:
        for subject in ("01", "02", "07"):
            archive.extract(f"{SUBJECTS}/{subject}/{subject}.asf", folder)
            archive.extract(f"{SUBJECTS}/{subject}/{subject}_01.amc", folder)
    return folder


def test_an_empty_folder_does_not_hide_the_archive_next_to_it(
    real_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "all_asfamc").mkdir()
    (tmp_path / "allasfamc.zip").symlink_to(real_data / "cmu_asfamc.zip")
    assert len(CMU().sources(tmp_path)) == 175


def test_actions_are_known_without_an_index(real_data: Path, tmp_path: Path) -> None:
    """The owner's archive has none; an index of descriptions gives the same actions."""
    for name in ARCHIVES:
        (tmp_path / name).symlink_to(real_data / name)
    alone = {source.name: source.action for source in CMU().sources(tmp_path)}
    with_index = {source.name: source.action for source in CMU().sources(real_data)}
    differ = {name for name in alone if alone[name] != with_index[name]}
    assert differ <= DESCRIBED_OTHERWISE


def test_each_recording_has_one_action() -> None:
    spans = [
        (part.partition(":")[0], span)
        for text in TRIALS.values()
        for part in text.split()
        for span in part.partition(":")[2].split(",")
    ]
    counted = sum(
        int(last or first) - int(first) + 1
        for first, _, last in (span.partition("-") for _, span in spans)
    )
    assert counted == len(ACTION_OF) > 1500
    assert ACTION_OF["35_17"] == "running"
    assert ACTION_OF["118_30"] == "jumping"
