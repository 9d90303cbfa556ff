// Checks the vectors of section 12, the good ones and the bad ones.
import { readFileSync } from 'node:fs'
import assert from 'node:assert/strict'
import { cat, H, NAME, refuse, Refused, u32, u64, verifyEd25519 } from './primitives.mjs'
import { decode, encode, readAll, wrap } from './wire.mjs'
import * as sealed from './sealed.mjs'
import { readBatch, writeBatch } from './batch.mjs'
import { boxKey, openBox } from './box.mjs'
import { leaf, openGenesis, refused, rootFrom, treeRoot, verifyReceipt } from './receipt.mjs'

const b = (hex) => Buffer.from(hex ?? '', 'hex')
const h = (bytes) => Buffer.from(bytes).toString('hex')
/** plain shows what a reader gives as the vectors do. */
const plain = (v) => {
  if (Buffer.isBuffer(v)) return h(v)
  if (typeof v === 'bigint') return Number(v)
  if (Array.isArray(v)) return v.map(plain)
  if (typeof v === 'object') return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, plain(x)]))
  return v
}
/** either runs f, which must succeed when good is true and refuse when it is not. */
const either = (good, f, what) => {
  if (good) return f()
  assert(refused(f), `${what}: taken`)
}

const sections = {
  names: (v) => {
    assert.equal(h(NAME(v.name, ...v.items.map(b))), v.encoded)
    assert.equal(h(H(b(v.encoded))), v.sum)
  },
  chain: (v) => assert.equal(h(H(NAME('CHAIN', b(v.previous), u64(v.position), u64(v.time), H(b(v.record))))), v.value),
  structures: (v) => {
    const read = decode(v.type, b(v.bytes))
    assert.deepEqual(plain(read), v.fields)
    assert.equal(h(encode(v.type, read)), v.bytes)
    for (let i = 0; i < v.bytes.length / 2; i++) { // what is taken with a changed byte is that encoding
      const changed = b(v.bytes)
      changed[i] ^= 1 << (i % 8)
      try { assert.equal(h(encode(v.type, decode(v.type, changed))), h(changed)) } catch (e) { if (!(e instanceof Refused)) throw e }
    }
  },
  refused: (v) => assert(refused(() => decode(v.type, b(v.bytes))), 'taken'),
  ed25519: (v) => assert.equal(verifyEd25519(b(v.key), b(v.message), b(v.signature)), v.valid),
  records: (v) => {
    const record = b(v.record)
    const { Body, Signature } = decode('record', record)
    assert.equal(verifyEd25519(b(v.key), NAME('RECORD', record.subarray(0, 153), H(Body)), Signature), v.valid)
    assert.equal(h(H(record)), v.hash)
  },
  signed: (v) => {
    let result = 'malformed'
    try {
      const { holds, account } = sealed.verifySigned(v.kind, b(v.signed))
      result = holds ? 'ok' : 'signature'
      if (holds) assert.equal(h(account), v.account)
    } catch (e) { if (!(e instanceof Refused)) throw e }
    assert.equal(result, v.result)
  },
  genesis: (v) => either(v.valid, () => {
    const { ledger } = openGenesis(b(v.file))
    if (v.valid) assert.equal(h(ledger), v.ledger)
  }, 'genesis'),
  epochs: (v) => {
    const e = sealed.epoch(b(v.previous_init), b(v.fresh), v.number)
    for (const k of ['secret', 'init', 'log', 'digest', 'snap', 'random']) assert.equal(h(e[k]), v[k], k)
    assert.equal(h(sealed.commitment(b(v.t), e.secret)), v.commitment)
    assert.equal(h(sealed.stateDigest(e.digest, v.position, b(v.root))), v.state_digest)
    assert.equal(h(sealed.blind(e.digest, v.position, v.index)), v.blind)
    assert.equal(h(sealed.seed(e.random, v.position)), v.seed)
  },
  t: (v) => assert.equal(h(H(NAME('T', b(v.t), b(v.core)))), v.next),
  packed: (v) => either(v.valid, () => {
    const batch = cat(u32(1), b(v.packed))
    const [signed] = readBatch(b(v.ledger), batch)
    if (!v.valid) return
    assert.equal(h(signed), v.signed)
    assert.equal(h(writeBatch(b(v.ledger), [signed])), h(batch))
  }, 'packed command'),
  data: (v) => either(v.opens, () => {
    const batch = sealed.openData(b(v.log), b(v.header), b(v.body))
    if (!v.opens) return
    assert.deepEqual(batch.map(h), v.batch ?? [])
    assert.equal(h(sealed.sealData(b(v.log), b(v.header), batch)), v.body)
  }, 'DATA'),
  trees: (v) => {
    const leaves = v.leaves.map(b)
    assert.equal(h(treeRoot(leaves)), v.root)
    leaves.forEach((data, i) => {
      const proof = v.proofs[i].map(b)
      assert.equal(h(rootFrom(data, i, leaves.length, proof)), v.root)
      assert(refused(() => rootFrom(data, i, leaves.length, [...proof, H()])), 'a longer proof is taken')
    })
  },
  leaves: (v) => assert.equal(h(leaf(b(v.ledger), v.position, v.index, b(v.signed), b(v.outcome), b(v.blind))), v.leaf),
  boxes: (v) => either(v.opens, () => {
    const key = boxKey(b(v.private), b(v.request.ephemeral_public_key))
    const c = JSON.parse(openBox(key, b(v.request.nonce), b(v.request.ciphertext)))
    if (!v.opens) return
    assert.deepEqual(c, { access_policy: { account_id: [...b(v.account)] }, runtime_params: v.arguments, cmd_name: v.name, counter: v.counter })
    const reply = openBox(key, b(v.reply).subarray(0, 24), b(v.reply).subarray(24))
    assert.equal(reply.length, 1024)
    assert.deepEqual(JSON.parse(reply), v.reply_json)
  }, 'box'),
}

const hpkeSections = {
  wraps: (v) => either(v.opens, () => {
    const w = sealed.openWrap(b(v.private), b(v.public), b(v.ledger), v.epoch, b(v.t), b(v.commitment), readAll(wrap, b(v.wrap), 4096))
    if (v.opens) assert.deepEqual(plain(w), { secret: v.secret, x: v.x, snap: v.snap, tail: v.tail ?? '' })
  }, 'wrap'),
  requests: (v) => either(v.opens, () => {
    const request = b(v.request)
    const { payload, x } = sealed.openRequest(b(v.private), b(v.public), b(v.ledger), b(v.iid), request)
    if (!v.opens) return
    assert.equal(h(payload), v.payload)
    assert.equal(h(x), v.exported)
    for (const r of v.replies) either(r.opens, () => assert.equal(h(sealed.openReply(x, request, b(r.reply))), r.body ?? ''), r.reason)
    const body = b(v.replies[0].body)
    assert.equal(h(sealed.openReply(x, request, sealed.sealReply(x, request, body, 4096))), h(body))
  }, 'request'),
  notices: (v) => either(v.opens, () => {
    const notice = sealed.openNotice(b(v.private), b(v.ledger), b(v.account), b(v.sealed))
    if (v.opens) assert.equal(h(notice), v.notice)
  }, 'notification'),
}

/** flipped refuses a receipt with any byte changed in any member that it rests on. */
const flipped = (receipt, ledger) => {
  let n = 0
  const flip = (s, encoding, put) => {
    for (let i = 0; i < Buffer.from(s, encoding).length; i++) {
      const bytes = Buffer.from(s, encoding)
      bytes[i] ^= 1 << (i % 8)
      const copy = structuredClone(receipt)
      put(copy, bytes.toString(encoding))
      assert(refused(() => verifyReceipt(copy, ledger)), `taken with byte ${i} changed of ${put}`)
      n++
    }
  }
  for (const m of ['command', 'outcome', 'blind', 'before', 'checkpoint']) flip(receipt[m], 'base64', (r, s) => { r[m] = s })
  for (const m of ['proof', 'after']) receipt[m].forEach((x, i) => flip(x, 'base64', (r, s) => { r[m][i] = s }))
  receipt.signatures.forEach((x, i) => {
    flip(x.iid, 'hex', (r, s) => { r.signatures[i].iid = s })
    flip(x.signature, 'base64', (r, s) => { r.signatures[i].signature = s })
  })
  flip(receipt.ledger, 'hex', (r, s) => { r.ledger = s })
  flip(receipt.control.genesis, 'base64', (r, s) => { r.control.genesis = s })
  receipt.control.records.forEach((x, i) => flip(x.record, 'base64', (r, s) => { r.control.records[i].record = s }))
  return n
}

export const checkVectors = (file) => {
  const all = JSON.parse(readFileSync(file))
  if (all.format !== 'hitoku-ledger-vectors/1') refuse('another format')
  const known = new Set(['format', 'receipt', 'sealed', ...Object.keys(sections)])
  for (const k of Object.keys(all)) if (!known.has(k)) refuse(`section ${k} is not known`)
  const lines = []
  const run = (name, list, check) => {
    list.forEach((v, i) => {
      try { check(v) } catch (e) { throw new Error(`${name}[${i}]${v.reason ? ` (${v.reason})` : ''}: ${e.message}`, { cause: e }) }
    })
    lines.push(`${name}: ${list.length}`)
  }
  for (const [name, check] of Object.entries(sections)) run(name, all[name], check)
  for (const [name, check] of Object.entries(hpkeSections)) run(`${name}, suite 1`, all.sealed[name].filter((v) => v.suite === 1), check)
  const ledger = b(all.receipt.ledger)
  const { receipt } = all.receipt
  assert.equal(verifyReceipt(receipt, ledger).outcome.Message, 'insufficient_balance')
  run('refused receipts', all.receipt.refused, (v) => assert(refused(() => verifyReceipt({ ...receipt, ...v.patch }, ledger)), 'taken'))
  lines.push(`receipts with a byte changed: ${flipped(receipt, ledger)}`)
  return lines
}
