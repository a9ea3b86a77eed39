"""Random-partition simulation of the data rule (docs/authority.md 3.7: cut, purge, rebase), one document, one malicious
removed member M.  usage: data_sim.py COUNT [WITNESS]; with WITNESS the rejected rule runs, which admits late changes.
change = (id, actor, seq, deps(frozenset of ids), payload, wall)   actor=(user,incarnation)"""
import random, sys
class Rep:
    def __init__(s,u): s.u=u; s.cuts={}; s.ch={}; s.inc=0; s.journal=[]  # cuts: name -> {actor: tip id or None}
    def anc(s,i,pool):
        seen=set(); st=[i]
        while st:
            x=st.pop()
            if x in seen or x not in pool: continue
            seen.add(x); st+=pool[x][3]
        return seen
    def heads(s):
        h=set(s.ch)
        for c in s.ch.values(): h-=c[3]
        return frozenset(h)
    def write(s,payload,wall,rng):
        a=(s.u,s.inc); seq=1+max([c[2] for c in s.ch.values() if c[1]==a],default=0)
        i=f"{s.u}{s.inc}.{seq}.{rng.getrandbits(40):x}"; own={c[0] for c in s.ch.values() if c[1]==a and c[2]==seq-1}
        s.ch[i]=(i,a,seq,s.heads()|own,payload,wall); s.journal.append(payload); return i
    def ok(s,pool):
        """accepted subset of pool = f(cuts,pool)"""
        allowed={}
        for name,m in s.cuts.items():
            tip=m.get('M0'); 
            if not tip: allowed[name]=set()
            elif tip in pool: allowed[name]=s.anc(tip,pool)
            else: allowed[name]={c[0] for c in pool.values() if c[1]==('M',0) and c[2]<=int(tip.split('.')[1])}   # provisional until the tip arrives
        good={}; memo={}
        def g(i):
            if i in memo: return memo[i]
            if i not in pool: memo[i]=False; return False
            c=pool[i]; memo[i]=False
            r=True
            if c[1][0]=='M' and s.cuts: r=all(i in allowed[n] for n in allowed) or (WIT and i in WITSET)
            memo[i]=r and all(g(d) for d in c[3]); return memo[i]
        for i in sorted(pool,key=lambda i:len(s.anc(i,pool))): g(i)
        return {i:pool[i] for i in pool if memo.get(i)}
    def learn(s,cuts):
        if set(cuts)<=set(s.cuts): return
        s.cuts.update(cuts)
        if s.u=='M': return
        if WIT:   # the rejected witness rule: vouch for everything of M held before learning of the removal
            for c in list(s.ch.values()):
                if c[1][0]=='M': WITSET.add(c[0])
        old=s.ch; s.ch=s.ok(old)
        lost=[c for c in old.values() if c[0] not in s.ch and c[1][0]==s.u]
        if lost:                                   # purge touched own work: new incarnation, replay own writes
            s.inc+=1; lost.sort(key=lambda c:(c[1][1],c[2]))
            for c in lost: s.write(c[4],-1,REB)
REB=random.Random(5)
WIT=len(sys.argv)>2
WITSET=set()
def sync(x,y):
    # log first
    if x.u!='M' and y.u!='M': c=dict(x.cuts); c.update(y.cuts); x.learn(c); y.learn(c)
    for a,b in ((x,y),(y,x)):
        # gates: a device that knows a removal exchanges nothing with M
        if (a.u=='M' and b.cuts) or (b.u=='M' and a.cuts): return
    for a,b in ((x,y),(y,x)):
        pool=dict(b.ch); pool.update(a.ch); b.ch=b.ok(pool) if b.u!='M' else pool
def run(seed):
    WITSET.clear(); rng=random.Random(seed); R={u:Rep(u) for u in 'ABCDM'}; n=0; removed_at=None; written={}
    for t in range(rng.randint(20,60)):
        e=rng.random()
        if e<.45:
            u=rng.choice('ABCDMM'); n+=1; p=f"{u}-{n}"; R[u].write(p,t,rng); written[p]=(u,t)
        elif e<.93: x,y=rng.sample('ABCDM',2); sync(R[x],R[y])
        else:
            a=rng.choice('AB')
            if f'r{a}' not in R[a].cuts and not R[a].cuts:
                m=[c for c in R[a].ch.values() if c[1]==('M',0)]
                tip=max(m,key=lambda c:c[2])[0] if m else None
                removed_at=min(t,removed_at) if removed_at is not None else t
                R[a].learn({f'r{a}':{'M0':tip}})
    if removed_at is None: return 'none'
    hon=[R[u] for u in 'ABCD']
    for k in range(4):
        for x in hon:
            for y in hon:
                if x is not y: sync(x,y)
    s0=set(hon[0].ch)
    for x in hon: assert set(x.ch)==s0,(seed,'diverged')
    pay=[c[4] for c in hon[0].ch.values()]
    for c in hon[0].ch.values():
        if c[1][0]=='M' and not written[c[4]][1]<removed_at:
            assert WIT,(seed,'post-removal change admitted')
            return 'POST-REMOVAL CHANGE ADMITTED'
    for p,(u,t) in written.items():
        if u!='M' and not WIT: assert p in pay,(seed,'honest write lost',p)
    if not WIT: assert len(pay)==len(set(pay)),(seed,'duplicate payload')
    return 'ok'
from collections import Counter
print(Counter(run(s) for s in range(int(sys.argv[1]))))
