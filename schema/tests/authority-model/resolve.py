"""Executable model of the membership-log rule (authority 3.1-3.3; single file, no deps).
Op = (kind, author, target, role, parents), kind 'set', 'revoke' (target's device `revokes`) or 'meta' (any other op).
`device` is the author's device that signed, None for the user key.  Sets of ops are frozensets of ids.
strength: smaller tuple = stronger.  class: 0 own device revoked by the user key, 1 self-lowering, 2 rest."""
import hashlib, random, sys
NONE,READER,WRITER,ADMIN,OWNER,FOUNDER=0,20,40,60,80,100

class Op:
    __slots__=('id','kind','author','target','role','parents','past','depth','rank','grant','oldrole','strength','selflow','device','revokes','cls')
class Log:
    def __init__(s, founders):
        s.ops={}; s.founders=founders; s.cache={}
        g=Op(); g.kind='genesis'; g.author=None; g.target=None; g.role=None; g.parents=(); g.past=frozenset(); g.depth=0
        g.id='G'; g.rank=101; g.grant=None; g.oldrole=None; g.strength=(-101,0,'',0); g.selflow=False
        g.device=None; g.revokes=None; g.cls=2
        s.ops['G']=g
    def clone(s):
        n=Log(s.founders); n.ops=dict(s.ops); n.cache=dict(s.cache); return n
    def past_of(s,parents):
        p=set()
        for x in parents: p.add(x); p|=s.ops[x].past
        return frozenset(p)
    def mk(s, author,target,role,parents,salt=0,device=None):
        """structural validity V of a SetRole: judged only against resolve(past). returns op or None"""
        parents=tuple(sorted(set(parents)))
        past=s.past_of(parents)
        st=s.resolve(past)
        a=st['role'].get(author,NONE); t=st['role'].get(target,NONE)
        if a<ADMIN: return None
        if (author,device) in st['revoked']: return None
        if role==t:   # re-assertion ('confirm'): only a lowering, only by strictly stronger authority than the present winner
            w=st['win'].get(target)
            if w is None or w=='G' or role>=ADMIN or author==target: return None
            gw=s.ops[st['win'][author]]; fi=s.founders.index(author) if gw.id=='G' else 0
            if not (-a,gw.depth,'' if gw.id=='G' else gw.id,fi)<s.ops[w].strength: return None
        if author==target:
            if role>=a: return None
        elif a<t or a<role: return None
        if author!=target and a==FOUNDER and t==FOUNDER and not s.seniority(st,author)<s.seniority(st,target): return None
        return s.op('set',author,target,role,parents,past,st,(author,target,role,parents,salt),device)
    def mk_revoke(s,author,target,revokes,parents,salt=0,device=None):
        """V of a RevokeDevice (clause 4): one's own device by the user key, or a device of somebody not above the author"""
        parents=tuple(sorted(set(parents))); past=s.past_of(parents); st=s.resolve(past)
        a=st['role'].get(author,NONE); t=st['role'].get(target,NONE)
        if a<ADMIN or (author,device) in st['revoked']: return None
        if author==target:
            if device is not None: return None
        elif a<t: return None
        return s.op('revoke',author,target,None,parents,past,st,('revoke',author,target,revokes,parents,salt),device,revokes)
    def mk_meta(s,author,parents,salt=0,device=None):
        """V of the ops that change no role and no device: Admin or above"""
        parents=tuple(sorted(set(parents))); past=s.past_of(parents); st=s.resolve(past)
        if st['role'].get(author,NONE)<ADMIN or (author,device) in st['revoked']: return None
        return s.op('meta',author,None,None,parents,past,st,('meta',author,parents,salt),device)
    def op(s,kind,author,target,role,parents,past,st,name,device,revokes=None):
        o=Op(); o.kind=kind; o.author=author; o.target=target; o.role=role; o.parents=parents; o.past=past
        o.device=device; o.revokes=revokes
        o.depth=1+max(s.ops[p].depth for p in parents)
        o.id=hashlib.sha256(repr(name if device is None else name+(device,)).encode()).hexdigest()[:12]
        o.rank=st['role'].get(author,NONE); o.grant=st['win'][author]; o.oldrole=st['role'].get(target,NONE)
        o.selflow=(kind=='set' and author==target)
        o.cls=1 if o.selflow else 0 if kind=='revoke' and author==target else 2
        g=s.ops[o.grant]
        fi=s.founders.index(author) if o.grant=='G' else 0
        o.strength=(-o.rank, g.depth, '' if o.grant=='G' else o.grant, fi)
        return o
    def seniority(s,st,u):
        w=st['win'][u]
        return (s.ops[w].depth, '' if w=='G' else w, s.founders.index(u) if w=='G' else 0)
    def add(s,o):
        s.ops[o.id]=o
    def resolve(s,S=None):
        if S is None: S=frozenset(s.ops)
        if S in s.cache: return s.cache[S]
        ops=[s.ops[i] for i in S if i!='G']
        ops.sort(key=lambda o:(o.strength, o.cls, o.depth, o.id))
        alive={'G'}; counts={'G'}; killers={}; bytgt={}; devkillers={}
        # (d) 'superseded' needs counting ops of strictly higher rank: same descending order works (rank is the first key)
        for o in ops:
            if o.grant not in alive: continue
            dead=False
            for r in killers.get(o.author,()):
                if r.role<o.rank and o.id not in r.past and r.id not in s.ops[o.grant].past and r.id!=o.grant and r.id!=o.id \
                   and (r.strength<o.strength or (r.selflow and o.cls==2 and r.strength==o.strength)):
                    dead=True;break
            # (c) device killed: only what a device signed, by a revocation that had not seen it
            for q in devkillers.get((o.author,o.device),()):
                if o.id not in q.past and (q.strength<o.strength or (q.strength==o.strength and q.cls==0)): dead=True;break
            if dead: continue
            alive.add(o.id)
            if o.kind != "set":
                counts.add(o.id)
                if o.kind=='revoke': devkillers.setdefault((o.target,o.revokes),[]).append(o)
                continue
            sup=False
            for g in bytgt.get(o.target,()):
                if g.rank>o.rank and g.id not in o.past and o.id not in g.past: sup=True;break
            if not sup:
                # (T) what strictly higher authority said about the target, as far as o had seen it, must allow o
                H=[h for h in bytgt.get(o.target,()) if h.rank>o.rank and h.id in o.past]
                if H:
                    mx=[h for h in H if not any(h.id in p.past for p in H)]
                    w=min(mx,key=lambda h:(-h.rank,h.role,h.strength,h.id))
                    if w.role>o.rank: sup=True
                elif o.target in s.founders and o.rank<FOUNDER: sup=True
            if sup: continue
            counts.add(o.id)
            bytgt.setdefault(o.target,[]).append(o)
            killers.setdefault(o.target,[]).append(o)
        role={};win={}
        if 'G' in S:
            for f in s.founders: role[f]=FOUNDER; win[f]='G'
        for u,lst in bytgt.items():
            mx=[o for o in lst if not any(o.id in p.past for p in lst)]
            w=min(mx,key=lambda o:(-o.rank,o.role,o.strength,o.id))
            role[u]=w.role; win[u]=w.id
        out={'role':role,'win':win,'alive':alive,'counts':counts,'revoked':set(devkillers)}
        s.cache[S]=out
        return out
    def heads(s,S=None):
        S=set(s.ops) if S is None else set(S)
        h=set(S)
        for i in S: h-=set(s.ops[i].parents)
        return h
