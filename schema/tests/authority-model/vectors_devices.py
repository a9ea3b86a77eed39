"""Prints random membership logs with devices in them: as vectors.py, and with RevokeDevice and other ops.

usage: vectors_devices.py SEED COUNT
As vectors.py; an op may also have "device" (the author's device that signed it), "revokes" (a device of the target, then
no "role") or neither target nor role (an op that changes neither); "revoked": [[user, device], ...].
"""
import json
import random
import sys

from resolve import Log
from vectors import ROLES, parents


def one(rng):
    users = [chr(65 + i) for i in range(rng.randint(3, 6))]
    log = Log(users[: rng.choice([1, 1, 2])])
    ops, refused = [], []
    for step in range(rng.randint(3, 18)):
        for attempt in range(12):
            author, target, kind = rng.choice(users), rng.choice(users), rng.random()
            device = rng.choice([None, "x", "x", "y"])
            row = {"author": author, "parents": sorted(set(parents(rng, log)))}
            if device:
                row["device"] = device
            salt = step * 100 + attempt
            if kind < 0.65:
                row |= {"target": target, "role": rng.choice(ROLES)}
                op = log.mk(author, target, row["role"], row["parents"], salt, device)
            elif kind < 0.93:
                row |= {"target": target, "revokes": rng.choice("xy")}
                op = log.mk_revoke(author, target, row["revokes"], row["parents"], salt, device)
            else:
                op = log.mk_meta(author, row["parents"], salt, device)
            if op is None:
                if len(refused) < 8:
                    refused.append(row)
                continue
            if op.id in log.ops:
                continue
            log.add(op)
            ops.append({"id": op.id} | row)
            break
    state = log.resolve()
    return {
        "founders": log.founders,
        "ops": ops,
        "refused": refused,
        "roles": dict(sorted(state["role"].items())),
        "winners": dict(sorted(state["win"].items())),
        "alive": sorted(state["alive"]),
        "counts": sorted(state["counts"]),
        "revoked": sorted(state["revoked"]),
    }


if __name__ == "__main__":
    rng = random.Random(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        print(json.dumps(one(rng), separators=(",", ":")))
