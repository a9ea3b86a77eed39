"""Device revocations beside the ops (authority 3.0, 3.5): the bounded set, and the op that an Admin signs for each.

usage: side.py SEED COUNT
Checks on random cases: the set holds the same records in any order of arrival, and so does the store, which never
holds more than the set; a set that keeps what came first would not (how often the two differ is printed). The
revocations that users below Admin once signed as ops decided nothing: without them every other op has the same effect.
The op that a user signs for a revoked device after a new grant, as of before the ops of the device that came alive
with that grant, leaves none of these alive, and takes from the user nothing that was alive before.
"""
import random
import sys

from resolve import ADMIN, NONE, Log
from vectors import ROLES, parents

MAX = 4


class Side:
    """Of the records of one user the `MAX` with the smallest ids, in memory and in the store."""

    def __init__(self):
        self.ids, self.stored = set(), set()

    def admit(self, record):
        if record in self.ids or len(self.ids) >= MAX and record > max(self.ids):
            return
        if len(self.ids) >= MAX:
            evicted = max(self.ids)
            self.ids.remove(evicted)
            self.stored.remove(evicted)
        self.ids.add(record)
        self.stored.add(record)


class OldLog(Log):
    """The rule before: a user of any role signed the revocation of an own device as an op."""

    def mk_revoke(self, author, target, revokes, at, salt=0, device=None):
        if author != target:
            return super().mk_revoke(author, target, revokes, at, salt, device)
        at = tuple(sorted(set(at)))
        past = self.past_of(at)
        state = self.resolve(past)
        if device is not None or state["role"].get(author, NONE) == NONE or (author, None) in state["revoked"]:
            return None
        name = ("revoke", author, target, revokes, at, salt)
        return self.op("revoke", author, target, None, at, past, state, name, device, revokes)


def grow(rng, log):
    users = [chr(65 + i) for i in range(rng.randint(3, 6))]
    for step in range(rng.randint(3, 18)):
        for attempt in range(12):
            author, target, kind = rng.choice(users), rng.choice(users), rng.random()
            device, at, salt = rng.choice([None, "x", "x", "y"]), parents(rng, log), step * 100 + attempt
            if kind < 0.6:
                op = log.mk(author, target, rng.choice(ROLES), at, salt, device)
            elif kind < 0.93:
                op = log.mk_revoke(author, rng.choice([author, target]), rng.choice("xy"), at, salt, device)
            else:
                op = log.mk_meta(author, at, salt, device)
            if op is not None and op.id not in log.ops:
                log.add(op)
                break
    return users


def check_side(rng, stats):
    records = [rng.randrange(1000) for _ in range(rng.randint(1, 12))]
    first_kept, sets = [], []
    for _ in range(4):
        rng.shuffle(records)
        arrivals = records + rng.sample(records, rng.randint(0, len(records)))
        side = Side()
        for record in arrivals:
            side.admit(record)
            assert side.stored == side.ids and len(side.ids) <= MAX
        sets.append(side.ids)
        first_kept.append(set(list(dict.fromkeys(arrivals))[:MAX]))
    assert all(ids == set(sorted(set(records))[:MAX]) for ids in sets)
    stats["sets"] += 1
    stats["first kept differ"] += any(ids != first_kept[0] for ids in first_kept)


def check_old_rule(rng, stats):
    log = OldLog(["A", "B"][: rng.choice([1, 1, 2])])
    grow(rng, log)
    ops = frozenset(log.ops)
    low = {id for id, op in log.ops.items() if op.kind == "revoke" and op.author == op.target and op.rank < ADMIN}
    if not low:
        return
    before = log.resolve(ops)
    log.cache.clear()
    after = log.resolve(ops - low)
    assert (before["role"], before["win"]) == (after["role"], after["win"])
    assert (before["alive"] - low, before["counts"] - low) == (after["alive"], after["counts"])
    stats["old logs"] += 1


def is_covered(log, state, user, device):
    """A counting revocation stands in the past of the user's grant, or is as strong as the user is now."""
    grant = log.ops[state["win"][user]]
    now = strength(log, state, user)
    of_device = [log.ops[id] for id in state["counts"] if log.ops[id].kind == "revoke"]
    of_device = [op for op in of_device if (op.target, op.revokes) == (user, device)]
    return any(
        op.id in grant.past or op.strength < now or op.strength == now and op.cls == 0 for op in of_device
    )


def strength(log, state, user):
    grant = log.ops[state["win"][user]]
    founder = log.founders.index(user) if grant.id == "G" else 0
    return (-state["role"][user], grant.depth, "" if grant.id == "G" else grant.id, founder)


def sign_before(log, rejected, user, device):
    """Adds the revocation as of before `rejected`, if it would count."""
    rest = {id for id in log.resolve()["alive"] if id not in rejected and not rejected & log.ops[id].past}
    op = log.mk_revoke(user, user, device, sorted(log.heads(rest)), 7000)
    trial = log.clone()
    if op is None or op.id in log.ops:
        return False
    trial.add(op)
    if op.id not in trial.resolve()["counts"]:
        return False
    log.add(op)
    return True


def reissue(log, known, user, device):
    """Signs the revocation as of before the ops that came alive; again under each grant on which some of them rest."""
    came = {
        id for id in log.resolve()["alive"] - known
        if id != "G" and (log.ops[id].author, log.ops[id].device) == (user, device)
    }
    rejected, signed = set(came), 0
    while rejected or not is_covered(log, log.resolve(), user, device):
        signs = sign_before(log, rejected, user, device)
        signed += signs
        if not rejected:
            break
        left = rejected & log.resolve()["alive"] if signs else rejected
        if left == rejected:
            # The author who changed the user's role since has seen them: an op under the old one voids none.
            oldest = min((log.ops[log.ops[id].grant].depth, log.ops[id].grant) for id in rejected)[1]
            left = {id for id in rejected if log.ops[id].grant != oldest}
        rejected = left
    return came, signed


def check_reissue(rng, stats):
    """A user below Admin has revoked device `x` beside the ops; somebody makes the user an Admin, and `x` signs."""
    log = Log(["A"])
    users = grow(rng, log)
    state = log.resolve()
    user = rng.choice(users)
    if state["role"].get(user, NONE) >= ADMIN or (user, "x") in state["revoked"]:
        return
    known = state["alive"]
    grants = [log.mk(author, user, rng.choice([60, 80]), sorted(log.heads()), 5000) for author in users]
    grants = [grant for grant in grants if grant is not None and grant.author != user]
    if not grants:
        return
    log.add(grants[0])
    # The thief signs under the new role, others build on it, and may change the user's role again.
    for step in range(rng.randint(1, 6)):
        for attempt in range(12):
            at = parents(rng, log) if step else [grants[0].id]
            salt = 6000 + step * 100 + attempt
            author, device = (user, "x") if step == 0 or rng.random() < 0.6 else (rng.choice(users), None)
            target = rng.choice([other for other in users if author != user or other != user])
            op = log.mk(author, target, rng.choice(ROLES), at, salt, device)
            op = op or log.mk_meta(author, at, salt, device)
            if op is not None and op.id not in log.ops:
                log.add(op)
                break
    state = log.resolve()
    if state["role"].get(user, NONE) < ADMIN:
        return
    came, signed = reissue(log, known, user, "x")
    after = log.resolve()
    left = [id for id in came & after["alive"]]
    if is_covered(log, after, user, "x"):
        assert all(log.ops[id].grant != after["win"][user] for id in left), "an op under the present grant stays"
    else:
        # A lowering that the grant had not seen voids whatever the user signs, with any device.
        assert not sign_before(log.clone(), set(), user, "x"), "later ops of the device are not void"
        stats["powerless"] += 1
    own = {id for id in known if id != "G" and log.ops[id].author == user}
    assert own & state["alive"] <= after["alive"], "an op of before is lost"
    stats["reissued"] += 1
    stats["over ops"] += bool(came)
    stats["twice"] += signed > 1
    stats["older ops left"] += bool(left)


def main(seed, count):
    rng = random.Random(seed)
    names = ["sets", "first kept differ", "old logs", "reissued", "over ops", "twice", "older ops left", "powerless"]
    stats = dict.fromkeys(names, 0)
    for _ in range(count):
        check_side(rng, stats)
        check_old_rule(rng, stats)
        check_reissue(rng, stats)
    print(seed, count, stats)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
