"""For each detector of a host an attack that it tells, and an honest twin that it does not; here what stood nowhere.

The attacks are done for real in scratch folders and namespaces, where that can be done to a machine that others use;
what would change the machine itself (modules of the kernel, set-id programs, accounts) is rows as they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from govsec.assemble.guard import build_guard
from govsec.clock import to_ns
from govsec.findings.baseline import Baseline
from govsec.guard.api import ModuleLook, PreloadFile
from govsec.guard.registry import DETECTORS, Site
from govsec.host.events import EventsLost, Stage, WatchNote
from govsec.host.tables import PrivilegedFile, ScheduledTask
from tests.guard import (
    test_drift,
    test_left_out,
    test_logins,
    test_loose_image,
    test_ransomware,
    test_rotation,
    test_tamper,
)
from tests.guard.guarded import NOON, Machine
from tests.guard.records import MONDAY_NS, SECOND, Judge, account, kinds, snapshot

_Tests = Sequence[Callable[..., None]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# Twins, and an attack, that stand nowhere else.


def test_a_mark_on_the_kernel_that_a_listed_module_accounts_for_is_silent() -> None:
    """A driver from outside of the kernel's tree, as of graphics cards and storage."""
    judge = Judge("hidden_module")
    out_of_tree = 1 << 12

    before = ModuleLook(MONDAY_NS, ("ext4",), ("ext4",), 0, "")
    after = [
        ModuleLook(MONDAY_NS + at * SECOND, ("ext4", "nvidia"), ("ext4", "nvidia"), out_of_tree, "O") for at in (30, 60)
    ]

    assert judge.each([before, *after]) == []


def test_entries_of_ld_so_preload_that_were_accepted_are_silent(machine: Machine) -> None:
    (machine.root / "etc/ld.so.preload").write_text("/usr/lib/libjemalloc.so.2\n")
    judge = Judge("preload", site=Site(habits=Baseline(), baseline=machine.accept()))

    def look(second: int, *entries: str) -> list[str]:
        return kinds(judge.take(PreloadFile(MONDAY_NS + second * SECOND, "/etc/ld.so.preload", entries)))

    assert look(0, "/usr/lib/libjemalloc.so.2") == []
    assert look(30) == []
    assert look(60, "/usr/lib/libjemalloc.so.2") == []
    assert look(90, "/usr/lib/libjemalloc.so.2", "/dev/shm/x.so") == ["host.tamper.preload"]


def test_a_baseline_that_holds_is_not_told(machine: Machine) -> None:
    machine.accept()
    machine.accept()

    for _ in range(2):  # the second run finds its number as the one that was in force
        found = build_guard(machine.config, NOON, habits=Baseline()).step((), now_ns=to_ns(NOON.now()))
        assert "host.tamper.baseline" not in kinds(found)


def test_tasks_set_id_programs_and_accounts_that_stay_are_no_drift() -> None:
    task = ScheduledTask("cron", "root", "0 2 * * *", "/usr/bin/backup", "/etc/crontab")
    program = PrivilegedFile("/usr/bin/sudo", 0o104755, 0, 0, (), 1, 1, "a" * 64)
    judge = test_drift.accepted(tasks=[task], privileged=[program], accounts=[account("root", 0)])

    for second in (0, 60):
        calm = snapshot(
            MONDAY_NS + second * SECOND, tasks=(task,), privileged=(program,), accounts=(account("root", 0),)
        )
        assert judge.take(calm) == ()


def test_events_that_were_lost_are_told_with_their_number_and_how_watching_goes_is_not() -> None:
    judge = Judge("events_lost")

    told = judge.take(EventsLost(MONDAY_NS, Stage.PROCESSES, "the kernel's queue was full", 300))
    silent = judge.take(WatchNote(MONDAY_NS + SECOND, Stage.FILES, "fanotify", False, "all file systems are watched"))

    assert kinds(told) == ["host.events.lost"]
    assert "300" in told[0].summary
    assert silent == ()


#: Detector: (attacks, twins).
_LIST: dict[str, tuple[_Tests, _Tests]] = {
    "ransom_canary": (
        [
            test_ransomware.test_a_canary_that_is_written_to_is_told_at_once_with_who_did_it,
            test_ransomware.test_an_encrypter_that_goes_through_the_folder_meets_a_canary_first,
            test_ransomware.test_canaries_that_were_touched_while_nobody_watched_are_told_once,
        ],
        [test_ransomware.test_canaries_open_as_documents_and_commands_raise_no_alarm],
    ),
    "ransom_renames": (
        [
            test_ransomware.test_a_tree_that_is_encrypted_is_found,
            test_ransomware.test_twenty_renames_by_many_short_programs_are_one_tree,
        ],
        [
            test_ransomware.test_honest_work_on_the_same_tree_is_silent,
            test_ransomware.test_nineteen_renames_or_twenty_in_two_minutes_are_silent,
        ],
    ),
    "ransom_entropy": (
        [
            test_ransomware.test_a_tree_that_is_encrypted_is_found,
            test_ransomware.test_what_tools_encrypt_is_noise_and_what_they_pack_is_not,
        ],
        [test_ransomware.test_honest_work_on_the_same_tree_is_silent],
    ),
    "ransom_deletes": (
        [test_ransomware.test_documents_that_are_removed_in_number_are_told_and_a_tree_that_is_moved_is_not],
        [test_ransomware.test_honest_work_on_the_same_tree_is_silent],
    ),
    "log_truncated": (
        [
            test_tamper.test_a_log_that_loses_something_is_told,
            test_rotation.test_a_log_that_is_taken_away_under_the_cover_of_rotation_is_told,
            test_rotation.test_a_rotated_file_that_goes_without_a_rotation_is_told,
            test_rotation.test_lines_that_came_and_went_between_two_looks_are_told_at_once,
        ],
        [
            test_rotation.test_logrotate_is_silent_for_a_week_and_a_cut_after_it_is_not,
            test_rotation.test_half_a_year_of_days_is_kept_and_the_oldest_goes_silently,
        ],
    ),
    "hidden_process": (
        [
            test_tamper.test_a_process_over_whose_folder_something_is_mounted_is_seen,
            test_tamper.test_a_process_that_hides_behind_another_ones_folder_is_seen,
            test_tamper.test_a_process_is_told_when_it_hides_at_two_looks_with_who_it_was,
        ],
        [test_tamper.test_nobody_hides_on_this_machine],
    ),
    "hidden_module": (
        [
            test_tamper.test_a_module_that_only_one_list_has_is_told_at_the_second_look,
            test_tamper.test_a_mark_on_the_kernel_that_no_module_accounts_for_is_told,
        ],
        [
            test_tamper.test_a_module_that_is_just_being_loaded_and_modules_that_agree_are_silent,
            test_a_mark_on_the_kernel_that_a_listed_module_accounts_for_is_silent,
        ],
    ),
    "preload": (
        [
            test_tamper.test_an_entry_of_ld_so_preload_that_was_not_there_is_told,
            test_tamper.test_an_ld_so_preload_that_is_not_read_as_the_loader_reads_it_is_told,
        ],
        [test_entries_of_ld_so_preload_that_were_accepted_are_silent],
    ),
    "root_account": (
        [
            test_tamper.test_an_account_with_uid_0_that_appears_is_told,
            test_tamper.test_a_second_root_that_was_there_before_anybody_looked_is_told,
        ],
        [test_tamper.test_an_account_that_comes_into_a_group_of_root_is_told_and_an_ordinary_one_is_not],
    ),
    "authorized_keys": (
        [
            test_tamper.test_a_key_file_that_is_not_read_as_sshd_reads_it_is_told,
            test_tamper.test_a_key_behind_more_keys_than_are_kept_is_told,
        ],
        [test_tamper.test_a_key_that_is_added_is_told_with_its_fingerprint_and_honest_edits_are_not],
    ),
    "loose_image": (
        [
            test_loose_image.test_a_program_that_runs_from_memory_alone_is_told,
            test_loose_image.test_what_only_looks_like_an_upgrade_is_told,
        ],
        [
            test_loose_image.test_a_program_whose_file_root_upgraded_is_merely_old,
            test_loose_image.test_a_runtime_that_runs_from_memory_below_a_runtime_of_root_is_silent,
        ],
    ),
    "login_guessing": (
        [
            test_logins.test_guessing_is_told_at_the_eighth_failure_and_again_only_after_the_cooldown,
            test_logins.test_one_password_at_many_accounts_is_spraying,
            test_logins.test_a_success_after_guessing_is_an_intrusion,
        ],
        [test_logins.test_people_and_jobs_are_silent],
    ),
    "login_habits": (
        [
            test_logins.test_a_log_in_from_a_network_that_the_account_never_came_from_is_told_once,
            test_logins.test_a_log_in_at_an_hour_that_is_never_used_is_told_and_the_hours_around_the_usual_ones_are_not,
        ],
        [test_logins.test_a_new_account_and_refused_log_ins_have_no_habits_to_break],
    ),
    "drift_tables": (
        [test_drift.test_a_row_that_is_not_as_accepted_is_told_with_before_and_after],
        [
            test_drift.test_what_changes_by_itself_is_no_drift,
            test_drift.test_a_listener_that_is_away_while_its_service_restarts_is_silent,
            test_tasks_set_id_programs_and_accounts_that_stay_are_no_drift,
        ],
    ),
    "drift_files": (
        [
            test_drift.test_a_program_that_is_not_as_accepted_is_told_with_before_and_after,
            test_drift.test_a_program_that_is_changed_after_an_upgrade_is_drift,
            test_left_out.test_files_without_end_hide_no_change_behind_them_and_are_told_with_their_number,
        ],
        [
            test_drift.test_a_machine_that_did_not_change_has_no_drift_also_when_files_were_touched,
            test_drift.test_a_package_that_is_upgraded_is_an_update_and_no_drift,
        ],
    ),
    "baseline_refused": (
        [
            test_drift.test_a_baseline_that_was_altered_is_refused_and_told_by_the_guard,
            test_drift.test_a_baseline_that_was_taken_away_or_put_back_is_told,
        ],
        [test_a_baseline_that_holds_is_not_told],
    ),
    "events_lost": (
        [
            test_events_that_were_lost_are_told_with_their_number_and_how_watching_goes_is_not,
            test_left_out.test_a_root_that_goes_is_told,
        ],
        [test_left_out.test_what_was_left_out_when_people_accepted_is_not_told],
    ),
}


def test_every_detector_has_an_attack_and_an_honest_twin() -> None:
    assert _LIST.keys() == DETECTORS.keys()
    assert all(attacks and twins for attacks, twins in _LIST.values())
