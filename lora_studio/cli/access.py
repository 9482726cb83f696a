"""`lora-studio access`: who may come in, as whom, and the way to put everybody out."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lora_studio.access.quotas import Use
from lora_studio.access.roles import Role, given_role
from lora_studio.access.visitor import SHARED

if TYPE_CHECKING:
    from lora_studio.store.people.visitors import Visitors

ROLES = ", ".join(Role)
WHO = "whom: a name of the list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"Roles: {ROLES}. A viewer looks, a creator also draws, a trainer also trains, an admin may do all. "
        "People come in where the page asks for a password; on this machine alone it asks nobody."
    )
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listed = acts.add_parser("list", help="show the people and the invites")
    listed.add_argument("--json", action="store_true", help="print as JSON")
    invite = acts.add_parser("invite", help="make a link that lets people in, each with a name of their own")
    invite.add_argument("--role", default=str(Role.CREATOR), help=f"{ROLES} (default: creator)")
    invite.add_argument("--hours", type=float, default=72, help="how long it is open (default: 72)")
    invite.add_argument("--uses", type=int, default=1, help="how many people it lets in (default: 1)")
    invite.add_argument("--note", default="", help="who it is for; only lists show it")
    add = acts.add_parser("add", help="add somebody, with a password that is made and printed")
    add.add_argument("name", metavar="NAME", help="what they log in as")
    add.add_argument("--role", default=str(Role.CREATOR), help=f"{ROLES} (default: creator)")
    role = acts.add_parser("role", help="give somebody another role, from the next click on")
    role.add_argument("name", metavar="NAME", help=WHO)
    role.add_argument("role", metavar="ROLE", help=ROLES)
    password = acts.add_parser("password", help="give somebody a new password, made and printed")
    password.add_argument("name", metavar="NAME", help=WHO)
    remove = acts.add_parser("remove", help="remove somebody; what they made stays")
    remove.add_argument("name", metavar="NAME", help=WHO)
    revoke = acts.add_parser("revoke", help="close an invite or a link, or end all sessions of somebody")
    revoke.add_argument(
        "target", metavar="INVITE-OR-NAME", help="an invite's or a link's id of the list, or a person's name"
    )
    link = acts.add_parser("link", help="make a read-only link: whoever opens it looks at what is shared")
    link.add_argument("--hours", type=float, default=24, help="how long it is open (default: 24)")
    link.add_argument("--note", default="", help="who it is for; only lists show it")
    for act, effect in (("share", "let everybody here see something"), ("unshare", "take that back")):
        shared = acts.add_parser(act, help=effect)
        shared.add_argument("what", choices=list(SHARED), help="what it is")
        shared.add_argument("id", metavar="ID", help="its job_id, slug, dataset_id or image_id")
    quota = acts.add_parser("quota", help="show how much somebody uses and may use, or change it")
    quota.add_argument("name", metavar="NAME", help=WHO)
    quota.add_argument(
        "limits",
        metavar="QUOTA",
        nargs="*",
        help=f"{', '.join(Use)}=NUMBER (disk in GB, images and steps a day), =none or =default",
    )
    acts.add_parser("revoke-all", help="end all sessions, invites and links, at once")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.settings import Settings
    from lora_studio.store.database import Database
    from lora_studio.store.people.visitors import Visitors

    with closing(Database(Settings.from_environment().database)) as database:
        print(ACTS[arguments.act](Visitors.over(database), arguments))
    return 0


def _list(visitors: Visitors, arguments: argparse.Namespace) -> str:
    from lora_studio.cli.console.text_table import draw_table

    people, invites, now = visitors.people.all(), visitors.invites.all(), time.time()
    if arguments.json:
        shown = [{**asdict(invite), "state": invite.state(now)} for invite in invites]
        return json.dumps({"people": [asdict(person) for person in people], "invites": shown}, indent=2)
    lines = ["Nobody has been let in yet. Invite somebody: lora-studio access invite"]
    if people:
        names = [(person.name, str(person.role), _day(person.created_at)) for person in people]
        lines = [draw_table(("NAME", "ROLE", "SINCE"), names)]
    if invites:
        rows = [
            (
                *(invite.id, "link" if invite.is_link else str(invite.role), invite.state(now)),
                str(invite.used) if invite.is_link else f"{invite.used}/{invite.uses}",
                *(_day(invite.expires_at), invite.note),
            )
            for invite in invites
        ]
        lines += ["", draw_table(("INVITE", "ROLE", "STATE", "USED", "UNTIL", "FOR"), rows)]
    return "\n".join(lines)


def _invite(visitors: Visitors, arguments: argparse.Namespace) -> str:
    invite, token = visitors.invites.make(
        given_role(arguments.role), hours=arguments.hours, uses=arguments.uses, note=arguments.note
    )
    people = "one person" if invite.uses == 1 else f"{invite.uses} people"
    return (
        f"Invite {invite.id} lets {people} in as {invite.role}, until {_day(invite.expires_at)}. "
        f"Send the page's address with this at its end; it is shown only now:\n/?invite={token}"
    )


def _link(visitors: Visitors, arguments: argparse.Namespace) -> str:
    link, token = visitors.invites.make_link(hours=arguments.hours, note=arguments.note)
    return (
        f"Link {link.id} shows what is shared to everybody who has it, until {_day(link.expires_at)}. "
        f"Send the page's address with this at its end; it is shown only now:\n/?view={token}"
    )


def _share(visitors: Visitors, arguments: argparse.Namespace) -> str:
    from lora_studio.studio import open_studio

    with closing(open_studio(start_worker=False)) as studio:
        studio.share(SHARED[arguments.what], arguments.id, arguments.act == "share")
    everybody = "Everybody here sees" if arguments.act == "share" else "Only its owner and admins see"
    return f"{everybody} the {arguments.what} {arguments.id} now."


def _add(visitors: Visitors, arguments: argparse.Namespace) -> str:
    from lora_studio.store.people.people import made_password

    password = made_password()
    person = visitors.people.add(arguments.name, given_role(arguments.role), password)
    return f"{person.name} is here as {person.role}. Password, shown only now: {password}"


def _role(visitors: Visitors, arguments: argparse.Namespace) -> str:
    person = visitors.people.set_role(arguments.name, given_role(arguments.role))
    return f"{person.name} is {person.role} now."


def _password(visitors: Visitors, arguments: argparse.Namespace) -> str:
    from lora_studio.store.people.people import made_password

    password = made_password()
    visitors.people.set_password(arguments.name, password)
    return f"{arguments.name}: sessions have ended. New password, shown only now: {password}"


def _remove(visitors: Visitors, arguments: argparse.Namespace) -> str:
    visitors.people.remove(arguments.name)
    return f"{arguments.name} is removed, and out. What they made stays; admins see it."


def _revoke(visitors: Visitors, arguments: argparse.Namespace) -> str:
    if visitors.people.find(arguments.target):
        visitors.people.end_sessions(arguments.target)
        return f"All sessions of {arguments.target} have ended. With the password they can come back."
    visitors.invites.revoke(arguments.target)
    if visitors.invites.get(arguments.target).is_link:
        return f"Link {arguments.target} is closed, and who looked by it is out."
    return f"Invite {arguments.target} is closed. Who came in by it stays."


def _revoke_all(visitors: Visitors, arguments: argparse.Namespace) -> str:
    visitors.people.revoke_all()
    return "All sessions, invites and links have ended. People can log in again with their passwords."


def _quota(visitors: Visitors, arguments: argparse.Namespace) -> str:
    from lora_studio.access.quotas import TITLES, given_limits, shown
    from lora_studio.cli.console.text_table import draw_table

    person = visitors.people.get(arguments.name)
    if arguments.limits:
        limits = given_limits(arguments.limits, person.limits)
        person = visitors.people.set_limits(person.name, limits)
    used = visitors.usage.of(person.name)
    rows = [
        (use, shown(use, used[use]) if use in used else "", shown(use, person.limit(use)), TITLES[use])
        for use in Use
    ]
    return draw_table(("QUOTA", "USED", "ALLOWED", "WHAT"), rows)


ACTS: dict[str, Callable[[Visitors, Any], str]] = {
    "list": _list,
    "invite": _invite,
    "link": _link,
    **{"share": _share, "unshare": _share},
    "add": _add,
    "role": _role,
    "password": _password,
    "remove": _remove,
    "revoke": _revoke,
    "quota": _quota,
    "revoke-all": _revoke_all,
}


def _day(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")
