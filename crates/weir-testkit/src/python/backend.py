"""Builds this project with nothing but Python's own library, so that installing it needs no network."""

import base64
import hashlib
import os
import tarfile
import zipfile

NAME = "@NAME@"
FILES = [@FILES@]
INFO = f"{NAME}.dist-info"
WHEEL = "Wheel-Version: 1.0\nGenerator: weir-testkit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def read(path):
    with open(path, "rb") as file:
        return file.read()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    members = [(path, read(path)) for path in FILES]
    members += [(f"{INFO}/METADATA", read("PKG-INFO")), (f"{INFO}/WHEEL", WHEEL.encode())]
    record = ""
    for path, contents in members:
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(contents)}\n"
    members.append((f"{INFO}/RECORD", f"{record}{INFO}/RECORD,,\n".encode()))
    name = f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, contents in members:
            archive.writestr(path, contents)
    return name


def build_sdist(sdist_directory, config_settings=None):
    name = f"{NAME}.tar.gz"
    with tarfile.open(os.path.join(sdist_directory, name), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in ["PKG-INFO", "pyproject.toml", "backend.py", *FILES]:
            archive.add(path, f"{NAME}/{path}")
    return name
