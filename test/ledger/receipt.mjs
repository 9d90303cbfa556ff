// Genesis, control records and receipts (sections 2, 4, 6, 9), evidence apart: whether a JOIN's
// evidence is good is for a verifier of the TEE makers' formats.
import { H, NAME, refuse, Refused, u16, u32, u64, verifyEd25519 } from './primitives.mjs'
import { adds, decode, removes } from './wire.mjs'
import { verifySigned } from './sealed.mjs'

export const leaf = (ledger, position, index, signed, outcome, blind) => NAME('LEAF', ledger, u64(position), u32(index), H(signed), H(outcome), blind)
export const leafHash = (data) => H([0], data)
const node = (a, b) => H([1], a, b)

export const treeRoot = (leaves) => {
  if (leaves.length === 0) return H()
  if (leaves.length === 1) return leafHash(leaves[0])
  let k = 1
  while (2 * k < leaves.length) k *= 2
  return node(treeRoot(leaves.slice(0, k)), treeRoot(leaves.slice(k)))
}

/** rootFrom follows an inclusion proof of RFC 6962. */
export const rootFrom = (data, index, count, proof) => {
  if (index >= count) refuse('index is not below count')
  let out = leafHash(data)
  const rest = [...proof]
  for (let last = count - 1; last > 0; index >>= 1, last >>= 1) {
    if (index === last && index % 2 === 0) continue
    if (rest.length === 0) refuse('proof is too short')
    out = index % 2 === 1 ? node(rest.shift(), out) : node(out, rest.shift())
  }
  return rest.length === 0 ? out : refuse('proof is too long')
}

const verifyAdmins = (policy, message, signatures) => {
  if (signatures.length < policy.Threshold) refuse('too few administrators')
  for (const s of signatures) {
    if (s.Index >= policy.Admins.length || !verifyEd25519(policy.Admins[s.Index], message, s.Signature)) refuse('an administrator did not sign this')
  }
}

/** openGenesis checks a genesis file and gives its parts and the ledger id. */
export const openGenesis = (file) => {
  const f = decode('genesis file', file)
  const genesis = decode('genesis', f.Genesis)
  const policy = decode('policy', genesis.PolicyBytes)
  const names = genesis.Applications.map((a) => a.Name)
  const most = 1n << 20n
  if (names.length === 0 || names.includes('') || new Set(names).size < names.length) refuse('applications')
  if (!policy.Slots.some((s) => s.Kind === 1)) refuse('no executor')
  if (policy.Version !== 0n || policy.ActiveFrom !== 0n || !policy.Ledger.equals(Buffer.alloc(32)) || !policy.Previous.equals(Buffer.alloc(32))) refuse('not a first policy')
  if (genesis.EntryMax < 4096 || genesis.EntryMax > 131072) refuse('entry_max')
  if (genesis.AnchorAge < 1n || [genesis.AnchorAge, genesis.Window, genesis.PolicyDelay].some((v) => v > most)) refuse('A, W or policy_delay')
  const message = NAME('GENESIS', f.Genesis)
  verifyAdmins(policy, message, f.Signatures)
  return { genesis, policy, ledger: H(message) }
}

/** followControl walks control records and gives the epochs that they make. */
export const followControl = (control) => {
  const { genesis, policy, ledger } = openGenesis(control.genesis)
  const policies = [{ ...policy, hash: H(NAME('POLICY', genesis.PolicyBytes)) }]
  const at = (position) => policies.findLast((p) => p.ActiveFrom <= position)
  const joins = new Map() // by position
  const keys = new Map() // iid to pk
  const epochs = [{ number: 0n, T: ledger, time: 0n, position: 0n, members: new Map() }]
  let last = 0n
  for (const { position, record } of control.records) {
    if (position <= last) refuse('positions do not rise')
    last = position
    if (record.length > genesis.EntryMax) refuse('a record is longer than entry_max')
    const { Header: h, Body, Signature } = decode('record', record)
    const now = epochs.at(-1)
    const iid = h.Incarnation.toString('hex')
    const force = at(position)
    if (!h.Ledger.equals(ledger)) refuse('record of another ledger')
    const join = h.Type === 1 ? decode('JOIN', Body) : null
    const key = join ? join.Key : keys.get(iid) ?? refuse('a sender without a JOIN')
    if (!H(NAME('INCARNATION', key)).equals(h.Incarnation) || !verifyEd25519(key, NAME('RECORD', record.subarray(0, 153), H(Body)), Signature)) refuse('a record\'s signature does not hold')
    if (join) {
      const slot = force.Slots.find((s) => s.Slot === join.Slot) ?? refuse('slot is not in the policy')
      if (!verifyEd25519(slot.Operator, NAME('OPERATOR', ledger, u16(join.Slot), join.Key, join.HPKE), join.OperatorSig)) refuse('the operator did not sign')
      joins.set(position, { slot, iid })
      keys.set(iid, join.Key)
      continue
    }
    const sender = [...now.members.values()].find((m) => m.iid === iid)
    if (!sender && now.number > 0n) refuse('a sender that is no member')
    if (h.Type === 6) {
      const u = decode('POLICY', Body)
      const p = decode('policy', u.Policy)
      const before = policies.at(-1)
      if (!p.Ledger.equals(ledger) || p.Version !== before.Version + 1n || !p.Previous.equals(before.hash)) refuse('a policy does not follow')
      if (p.ActiveFrom < position + genesis.PolicyDelay) refuse('a policy comes too early')
      verifyAdmins(before, NAME('POLICY', u.Policy), u.Signatures)
      policies.push({ ...p, hash: H(NAME('POLICY', u.Policy)) })
      continue
    }
    if (h.Type !== 2) refuse('a record that is none of JOIN, COMMIT, POLICY')
    epochs.push(commit({ Body, iid, position, now, force, joins, sender, ledger, h }))
  }
  return { genesis, ledger, epochs, keys }
}

const commit = ({ Body, iid, position, now, force, joins, sender, ledger, h }) => {
  const c = decode('COMMIT', Body)
  const core = decode('core', c.CoreBytes)
  if (h.Epoch !== now.number || core.Epoch !== now.number + 1n || !core.Previous.equals(now.T)) refuse('a COMMIT does not follow')
  if (core.PolicyVersion !== force.Version || core.Time < now.time) refuse('a COMMIT of another policy or time')
  const members = new Map(now.members)
  let approve = now.number === 0n
  for (const r of core.Removes) {
    const m = members.get(r.Slot)
    if (m?.iid !== r.Incarnation.toString('hex')) refuse('removes one that is no member')
    if (r.Reason === 1 && !core.Adds.some((a) => a.Slot === r.Slot)) refuse('replaces without an add')
    approve ||= r.Reason === 5
    members.delete(r.Slot)
  }
  for (const a of core.Adds) {
    const j = joins.get(a.JoinPosition)
    if (!j || j.iid !== a.Incarnation.toString('hex') || j.slot.Slot !== a.Slot || members.has(a.Slot)) refuse('adds one that did not join, or to a slot that is taken')
    approve ||= sender?.kind === 2 && j.slot.Kind === 1
    members.set(a.Slot, { iid: j.iid, kind: j.slot.Kind })
  }
  const slots = [...members.keys()].sort((a, b) => a - b).join()
  if (slots !== core.Keys.map((k) => k.Slot).join() || slots !== c.Wraps.map((w) => w.Slot).join()) refuse('keys or wraps are not complete')
  if (now.number === 0n && ![...members.values()].some((m) => m.iid === iid)) refuse('the first COMMIT does not add its sender')
  if (approve || c.Approvals.length > 0) { // ALARMs, which are no control records, may have made them needed
    verifyAdmins(force, NAME('APPROVE', ledger, now.T, u64(core.Epoch), H(adds.write(core.Adds), removes.write(core.Removes))), c.Approvals)
  }
  return { number: core.Epoch, T: H(NAME('T', now.T, c.CoreBytes)), time: core.Time, position, members }
}

const base64 = (s, n) => {
  const b = Buffer.from(typeof s === 'string' ? s : refuse('not base64'), 'base64')
  return b.toString('base64') === s && (n === undefined || b.length === n) ? b : refuse('not base64 of the right length')
}
const hex = (s) => /^[0-9a-f]{64}$/.test(s) ? Buffer.from(s, 'hex') : refuse('not 64 digits')
const integer = (v, limit = Number.MAX_SAFE_INTEGER) => Number.isInteger(v) && v >= 0 && v <= limit ? v : refuse('not an integer, or too large')
const members = (v, wanted, optional = []) => {
  if (typeof v !== 'object' || v === null || Array.isArray(v)) refuse('not an object')
  if (wanted.some((m) => !(m in v)) || Object.keys(v).some((m) => !wanted.includes(m) && !optional.includes(m))) refuse('a member is missing or not known')
  return v
}
const array = (v, f) => Array.isArray(v) ? v.map(f) : refuse('not a list')

export const readControl = (v) => {
  members(v, ['genesis', 'records'])
  return {
    genesis: base64(v.genesis),
    records: array(v.records, (r) => {
      members(r, ['position', 'time', 'record'])
      return { position: BigInt(integer(r.position)), time: BigInt(integer(r.time)), record: base64(r.record) }
    }),
  }
}

/** verifyReceipt refuses, or says what became of which command. r is the parsed JSON. */
export const verifyReceipt = (r, ledger) => {
  members(r, ['format', 'ledger', 'control', 'command', 'outcome', 'position', 'index', 'blind', 'count', 'proof', 'before', 'after', 'checkpoint', 'signatures', 'order_assurance'], ['order_proof'])
  if (r.format !== 'hitoku-ledger-receipt/1') refuse('another format')
  const world = followControl(readControl(r.control))
  if (!hex(r.ledger).equals(ledger) || !world.ledger.equals(ledger)) refuse('another ledger')
  const checkpoint = decode('checkpoint', base64(r.checkpoint))
  const position = BigInt(integer(r.position))
  const epoch = world.epochs.findLast((e) => e.position <= checkpoint.Position)
  if (!epoch.T.equals(checkpoint.Epoch) || epoch.number === 0n) refuse('the control records do not lead to the checkpoint\'s T')

  const executors = [...epoch.members.values()].filter((m) => m.kind === 1).map((m) => m.iid)
  const signed = new Set()
  for (const s of array(r.signatures, (s) => members(s, ['iid', 'signature']))) {
    const iid = hex(s.iid)
    if (!executors.includes(s.iid) || signed.has(s.iid)) refuse('a signature of no executor, or a second one')
    if (!verifyEd25519(world.keys.get(s.iid), NAME('CHECKPOINT', ledger, iid, base64(r.checkpoint)), base64(s.signature, 64))) refuse('a signature does not hold')
    signed.add(s.iid)
  }
  if (2 * signed.size <= executors.length) refuse('no majority')

  const command = base64(r.command)
  const outcome = base64(r.outcome)
  const data = leaf(ledger, position, integer(r.index, 0xffffffff), command, outcome, base64(r.blind, 32))
  const root = rootFrom(data, r.index, integer(r.count, 0xffffffff), array(r.proof, (h) => base64(h, 32)))
  const after = array(r.after, (h) => base64(h, 32))
  let q = H(NAME('OUTCOMES', base64(r.before, 32), root))
  for (const h of after) q = H(NAME('OUTCOMES', q, h))
  if (!q.equals(checkpoint.Outcomes)) refuse('the outcome is not under the checkpoint')
  if (after.length === 0 ? position !== checkpoint.Position : position + BigInt(after.length) > checkpoint.Position) refuse('the position is not before the checkpoint\'s')
  const { Driver, Validators, Endpoints } = world.genesis.Order
  const assurance = Driver === 2 && Validators.length > 0 ? 'validators' : Driver === 2 && Endpoints > 1 ? 'endpoints' : 'operator'
  if (r.order_assurance !== assurance) refuse('the order rests on something else')
  const what = decode('outcome', outcome)
  const { holds } = verifySigned('command', command)
  const asked = decode('command', decode('signed', command).Body)
  if (!asked.Ledger.equals(ledger)) refuse('a command of another ledger')
  if (!holds && what.Code !== 3) refuse('the command\'s signature does not hold')
  return { position, checkpoint, command: asked, outcome: what, assurance }
}

/** refused says whether f refuses; any other exception goes on. */
export const refused = (f) => { try { f(); return false } catch (e) { if (e instanceof Refused) return true; throw e } }
