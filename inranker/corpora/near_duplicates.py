"""Groups of texts that share most of their wording (Broder 1997, "On the resemblance and containment of documents")."""

from collections import Counter, defaultdict

SHINGLE_WORDS = 4
MIN_CONTAINMENT = 0.5
MAX_OWNERS = 100  # a shingle that so many texts share ("this method is called by") says nothing about any two


def shingles(text: str) -> frozenset[str]:
    """Runs of four words; a shorter text is one shingle."""
    words = text.lower().split()
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(" ".join(words[start : start + SHINGLE_WORDS]) for start in range(count))


def containment(one: frozenset[str], other: frozenset[str]) -> float:
    """The part of the smaller set that is in the other."""
    return len(one & other) / min(len(one), len(other))


def near_duplicate_groups(texts: dict[str, str]) -> dict[str, str]:
    """For each id, the smallest id of its group.

    Two texts are near duplicates when half of the shorter one's shingles are in the other; groups are closed under
    that (a chain of near duplicates is one group).
    """
    owners = defaultdict(list)
    sizes = {}
    for identifier in sorted(texts):
        own = shingles(texts[identifier])
        sizes[identifier] = len(own)
        for shingle in own:
            owners[shingle].append(identifier)
    shared: Counter[tuple[str, str]] = Counter()
    for members in owners.values():
        if len(members) <= MAX_OWNERS:
            shared.update((one, other) for place, one in enumerate(members) for other in members[place + 1 :])
    smallest = {identifier: identifier for identifier in texts}
    for (one, other), count in shared.items():
        if count >= MIN_CONTAINMENT * min(sizes[one], sizes[other]):
            first, second = sorted((_root(smallest, one), _root(smallest, other)))
            smallest[second] = first
    return {identifier: _root(smallest, identifier) for identifier in texts}


def _root(smallest: dict[str, str], identifier: str) -> str:
    while smallest[identifier] != identifier:
        identifier = smallest[identifier]
    return identifier
