#!/usr/bin/env node
// A client of the ledger in another language, written from docs/ledger-protocol.md alone.
//
//   client.mjs vectors FILE            checks the test vectors
//   client.mjs seal    < JSON          signs a command or query and seals it to a node
//   client.mjs open    < JSON          opens the reply to it
//   client.mjs receipt LEDGER FILE     verifies a receipt, evidence apart
//
// Exit codes: 0 done, 1 refused, 2 wrong usage. It verifies no evidence: do not use it with secrets.
import { readFileSync } from 'node:fs'
import { H, NAME, publicEd25519, refuse, signEd25519, verifyEd25519 } from './primitives.mjs'
import { decode, encode } from './wire.mjs'
import { account, openReply, sealRequest } from './sealed.mjs'
import { verifyReceipt } from './receipt.mjs'
import { checkVectors } from './vectors.mjs'

const input = () => JSON.parse(readFileSync(0))
const from64 = (s) => Buffer.from(s, 'base64')
const show = (v) => JSON.stringify(v, (_, x) => {
  if (typeof x === 'bigint') return Number(x)
  return x?.type === 'Buffer' ? Buffer.from(x.data).toString('hex') : x
}, 1)

const commands = {
  vectors: ([file]) => checkVectors(file).join('\n'),

  // in: ledger, seed (hex), key_info, signature (base64), application, name, arguments (text),
  // not_after, reply_bucket, floor {position, chain}; for commands nonce, expires_at; for queries
  // query_kind, qid (hex), fresh. out: request, signed (base64), secret, account (hex).
  seal: () => {
    const v = input()
    const ledger = Buffer.from(v.ledger, 'hex')
    const info = decode('KeyInfo', from64(v.key_info))
    if (!info.Ledger.equals(ledger)) refuse('KeyInfo of another ledger')
    if (!H(NAME('INCARNATION', info.Key)).equals(info.Incarnation)) refuse('KeyInfo: iid is not that of its key')
    if (!verifyEd25519(info.Key, NAME('KEYINFO', from64(v.key_info)), from64(v.signature))) refuse('KeyInfo: the signature does not hold')
    const seed = Buffer.from(v.seed, 'hex')
    const Key = publicEd25519(seed)
    const common = { Ledger: ledger, Application: v.application, Scheme: 1, Key, Name: v.name, Arguments: Buffer.from(v.arguments) }
    const kind = v.query_kind ? 'query' : 'command'
    const body = encode(kind, v.query_kind
      ? { ...common, Kind: v.query_kind, ID: Buffer.from(v.qid, 'hex'), NotAfter: v.not_after }
      : { ...common, Nonce: v.nonce, ExpiresAt: v.expires_at })
    const signed = encode('signed', { Body: body, Signature: signEd25519(seed, NAME(kind.toUpperCase(), body)) })
    const payload = { FloorPosition: v.floor.position, FloorChain: Buffer.from(v.floor.chain, 'hex'), Mode: v.fresh ? 1 : 0, ReplyBucket: v.reply_bucket, Items: [signed] }
    const { request, x } = sealRequest(info, v.query_kind ? 2 : 1, v.not_after, payload)
    return show({ request: request.toString('base64'), signed: signed.toString('base64'), secret: x.toString('hex'), account: account(1, Key).toString('hex') })
  },

  // in: request, reply (base64), secret (hex). out: the reply's body, bytes in hex.
  open: () => {
    const v = input()
    return show(decode('reply body', openReply(Buffer.from(v.secret, 'hex'), from64(v.request), from64(v.reply))))
  },

  receipt: ([ledger, file]) => show(verifyReceipt(JSON.parse(readFileSync(file)), Buffer.from(ledger, 'hex'))),
}

const [word, ...rest] = process.argv.slice(2)
const needed = { vectors: 1, seal: 0, open: 0, receipt: 2 }
if (!(word in commands) || rest.length !== needed[word]) {
  console.error('usage: client.mjs vectors FILE | seal < JSON | open < JSON | receipt LEDGER FILE')
  process.exit(2)
}
try {
  console.log(commands[word](rest))
} catch (e) {
  console.error(`client.mjs ${word}: ${e.message}`)
  process.exit(1)
}
