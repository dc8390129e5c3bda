"""Backup and restore of both databases: the results, and Dagster's records of runs."""

from astra_orchestration.backup.folder import BackupError
from astra_orchestration.backup.making import make_backup
from astra_orchestration.backup.restoring import restore_backup

__all__ = ["BackupError", "make_backup", "restore_backup"]
