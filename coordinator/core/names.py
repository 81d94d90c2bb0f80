"""Readable names for jobs that were given none."""

from __future__ import annotations

_ADJECTIVES = (
    "amber bold brave brisk bright calm clear clever cosy crisp deep early eager fair fast fine fond free "
    "fresh gentle glad golden good grand happy high keen kind late light lively lucky mellow merry mild neat "
    "new nimble noble open plain proud quick quiet rapid ready rich round royal sharp shy silver simple sleek "
    "small smart smooth soft solid spry still strong sunny swift tall tidy true vast warm wide wild wise witty "
    "young"
).split()
_NOUNS = (
    "alder ant auk badger bass bear beaver bee birch bison bream cat cedar chaffinch crane crow deer dove duck "
    "eagle eel elk elm falcon fern finch fir fox frog gannet goose grouse gull hare hawk hazel heron horse "
    "ibex ibis jay kite lark larch lily linnet lion lynx maple marten mole moth mouse newt oak ocelot orca "
    "otter owl oyster pike pine plover pony puffin quail rabbit raven robin rook salmon seal shrew siskin "
    "snipe sparrow stoat stork swan swift teal tern thrush tiger toad trout vole walrus whale willow wolf wren "
    "yak yew"
).split()


def name_for(number: int) -> str:
    """The name of the ``number``-th job: two words and the number, so that no two are alike."""
    adjective = _ADJECTIVES[number * 37 % len(_ADJECTIVES)]
    noun = _NOUNS[number * 53 % len(_NOUNS)]
    return f"{adjective}-{noun}-{number}"
