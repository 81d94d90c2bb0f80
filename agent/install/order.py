"""What the installer was asked for, and the join token, which never is an argument."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rallypoint.files import readable_by_others
from rallypoint.token import TokenDamaged, TokenText, parse_token

from agent.install.errors import CannotInstall
from agent.install.options import JoinOptions, Parser, join_options
from agent.installation import Packages
from agent.statedir import StateDirUnsafe, check_token_owner

# The seed makes its temporary folder by this name; no other is removed.
SEEDS_FOLDER = "rallypoint-install-"
_MAX_TOKEN = 4096
_OWN = ("--prefix", "--state-dir", "--token-file", "--coordinator", "--wheelhouse", "--index", "--uv")
_EPILOG = """Everything else is for 'agent join': --name, --backend, --region, --price, --label, --spot and so on. The
join token is asked for; without a terminal it is read from standard input, or from --token-file, which only you may
read."""


@dataclass(frozen=True, slots=True)
class Order:
    """One run: ``address`` and ``pin`` from the line, ``folder`` with what the seed fetched (removed at the end).

    ``None`` means what is there already, or usual; ``join`` are the options for ``agent join``.
    """

    address: str
    pin: str
    folder: Path
    wheel: Path
    prefix: Path | None
    state_dir: Path | None
    packages: Packages | None
    token_file: str | None
    coordinator: str | None
    uv: bool
    join: JoinOptions


def parse(words: Sequence[str]) -> Order:
    """Read the options; wrong ones end the program, with code 2."""
    parser = Parser(
        prog="rallypoint", epilog=_EPILOG, allow_abbrev=False, usage="LINE [options] [options of 'agent join']"
    )
    for name in ("--from", "--pin", "--folder", "--wheel"):
        parser.add_argument(
            name, required=True, help=argparse.SUPPRESS, dest=name.strip("-").replace("from", "address")
        )
    parser.add_argument(
        "--prefix", metavar="DIR", help="where to  [default: /opt/rallypoint, ~/.local/share/rallypoint]"
    )
    parser.add_argument("--state-dir", metavar="DIR", help="where the agent keeps its state")
    parser.add_argument("--token-file", metavar="F", help="file with the join token; '-' for standard input")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="where to join  [default: as the coordinator says]")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--wheelhouse", action="store_const", dest="packages", const=Packages.WHEELHOUSE)
    source.add_argument("--index", action="store_const", dest="packages", const=Packages.INDEX)
    parser.add_argument("--uv", action="store_true", help="Python and packages by uv")
    parser.add_argument("--force", action="store_true", help="join anew as another host")
    given, rest = parser.parse_known_args(words)
    join = join_options([*rest, *(["--force"] if given.force else [])], parser, _OWN)
    return Order(
        address=given.address,
        pin=given.pin,
        folder=Path(given.folder),
        wheel=Path(given.wheel),
        prefix=_path(given.prefix),
        state_dir=_path(given.state_dir),
        packages=given.packages,
        token_file=given.token_file,
        coordinator=given.coordinator,
        uv=given.uv,
        join=join,
    )


def seeds_folder(words: Sequence[str]) -> Path | None:
    """The temporary folder that the seed made, and names before all options."""
    folder = Path(words[words.index("--folder") + 1]) if "--folder" in words[:-1] else None
    return folder if folder is not None and folder.name.startswith(SEEDS_FOLDER) else None


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser().absolute() if text else None


def read_token(file: str | None, cluster: str) -> str:
    """The join token for this cluster, checked as far as that is possible here. Raises ``CannotInstall``."""
    text = _token_text(file).strip()
    if not text:
        raise CannotInstall(
            "no join token was given: paste it when it is asked for, pipe it in, or name its file with --token-file"
        )
    try:
        token: TokenText = parse_token(text)
    except TokenDamaged as error:
        raise CannotInstall(str(error)) from None
    if token.cluster_id != cluster:
        raise CannotInstall(
            f"the token is for cluster {token.cluster_id}, the line for cluster {cluster}: make both anew"
        )
    return text


def _token_text(file: str | None) -> str:
    if file and file != "-":
        return _from_file(Path(file))
    if sys.stdin is None:
        return ""
    return getpass.getpass("join token: ") if sys.stdin.isatty() else sys.stdin.read(_MAX_TOKEN)


def _from_file(path: Path) -> str:
    try:
        if readable_by_others(path):
            raise CannotInstall(f"token file {path} may be read by other users: run 'chmod 600 {path}'")
        check_token_owner(path)
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_TOKEN)
    except StateDirUnsafe as error:
        raise CannotInstall(str(error)) from None
    except OSError as error:
        text = f"token file {path} can't be read ({error.strerror}): give the right one with --token-file"
        raise CannotInstall(text) from None
