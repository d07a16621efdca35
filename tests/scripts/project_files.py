"""The files of a tree that belong to the project: what git would track, without asking git."""

import os

# Made by tools or by runs, never part of the project.
_SKIPPED_FOLDERS = {".git", "results", "__pycache__"}

CODE_SUFFIXES = (".h", ".hpp", ".c", ".cpp", ".cu", ".cuh")


def project_files(root):
    """Paths relative to `root`, with forward slashes, in order."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            name for name in subfolders
            if name not in _SKIPPED_FOLDERS
            and not (folder == root and (name.startswith("build") or name.startswith(".")) and name != ".ci"))
        found += [os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
                  for name in sorted(names)]
    return found


def code_files(root):
    return [path for path in project_files(root) if path.endswith(CODE_SUFFIXES)]
