"""``coordinator token``: what lets hosts join."""

from __future__ import annotations

import click

from coordinator.cli import exits
from coordinator.cli.common import client_options, connect, document, say
from coordinator.cli.durations import DURATION
from coordinator.cli.reporting import CommandFailed


@click.group("token")
def command() -> None:
    """Create, list and revoke join tokens."""


@command.command("create")
@click.option("--ttl", type=DURATION, default="1h", show_default=True, help="How long hosts may join with it.")
@click.option("--uses", type=click.IntRange(0), default=1, show_default=True, help="How many hosts; 0: any number.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="For every host that joins with it. Repeatable.")
@click.option("--show-install", is_flag=True, help="Print the line that makes a machine a host, and the token.")
@click.option("--show-user-data", is_flag=True, help="Print user data with which cloud machines become hosts.")
@client_options
def create(
    ttl: float,
    uses: int,
    labels: tuple[str, ...],
    show_install: bool,
    show_user_data: bool,
    context: str | None,
    as_json: bool,
) -> None:
    """Print a new join token, alone. It is a secret, and is shown this once.

    On the host:  agent join HOST:PORT --token-file FILE  (or '-' to read it from standard input)

    With --show-install there is a line before it: paste that on a machine with nothing but Python. It installs the
    agent, asks for the token (or reads it from standard input), joins and starts. The line itself holds no secret.

    With --show-user-data both stand in a file for cloud-init, which is as secret as the token: give that to machines
    as they are made, with --uses and --ttl for as many, and as long, as you make some.
    """
    if show_install and show_user_data:
        raise click.UsageError("--show-install is for one machine, --show-user-data for cloud-init: give one of both")
    with connect(context) as client:
        answer = client.create_token(ttl=ttl, uses=uses, labels=dict(_label(label) for label in labels))
        if (show_install or show_user_data) and not answer.install_line:
            client.revoke_token(answer.info.id)
            raise CommandFailed(_NO_INSTALLER, exits.REFUSED)
    if as_json:
        line = {"install_line": answer.install_line} if show_install or show_user_data else {}
        click.echo(document(token=answer.token, info=answer.info, **line))
    elif show_user_data:
        from coordinator.cli.user_data import user_data

        click.echo(user_data(answer.install_line, answer.token), nl=False)
    elif show_install:
        say("On the machine that is to be a host, as root or as the user who shall own it, paste this line:")
        click.echo(answer.install_line)
        say("and this token when it asks for it:")
        click.echo(answer.token)
    else:
        click.echo(answer.token)


_NO_INSTALLER = (
    "this coordinator serves no installer: start it with --install-listen HOST:PORT (its log says why it has none, if"
    " it was not switched off), or install by hand and use 'agent join'"
)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not K=V; write for example rack=a3", param_hint="--label")
    return key, value


@command.command("list")
@client_options
def list_tokens(context: str | None, as_json: bool) -> None:
    """List join tokens, without their secrets."""
    with connect(context) as client:
        tokens = client.tokens()
    if as_json:
        click.echo(document(tokens=tokens))
        return
    import time

    from coordinator.cli import words
    from coordinator.cli.table import print_table

    now = time.time()
    rows = [
        (
            token.id,
            "revoked" if token.revoked else words.age(now, token.expires_at) if token.expires_at > now else "expired",
            "any" if token.unlimited else str(token.uses_left),
            token.created_by,
            ",".join(f"{key}={value}" for key, value in sorted(token.labels.items())),
        )
        for token in tokens
    ]
    print_table(("ID", "GOOD FOR", "USES LEFT", "CREATED BY", "LABELS"), rows)


@command.command("revoke")
@click.argument("token_id", metavar="ID")
@client_options
def revoke(token_id: str, context: str | None, as_json: bool) -> None:
    """No host can join with token ID any more; hosts that joined stay."""
    with connect(context) as client:
        client.revoke_token(token_id)
    if as_json:
        click.echo(document(revoked=token_id))
    else:
        say(f"token {token_id} is revoked")
