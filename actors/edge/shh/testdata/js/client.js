// A client as it was written for go-ethereum: web3-shh over HTTP, WebSocket and
// the socket of the node. Ends with 0 if everything is as it was there.
//
// usage: node client.js HTTP_URL WEBSOCKET_URL [IPC_PATH]
'use strict'

const assert = require('node:assert/strict')
const net = require('node:net')
const Shh = require('web3-shh')

const [httpURL, wsURL, ipcPath] = process.argv.slice(2)
const text = '0x' + Buffer.from('hello from JavaScript').toString('hex')
const topic = '0xcd423760'

function deadline (promise, what) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(what + ': nothing came')), 30000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// subscription resolves when it stands; its message is the first that comes.
async function subscription (shh, criteria) {
  let one
  const message = new Promise((resolve, reject) => {
    one = shh.subscribe('messages', criteria, (err, m) => err ? reject(err) : resolve(m))
  })
  message.catch(() => {})
  await deadline(new Promise((resolve, reject) => one.once('connected', resolve).once('error', reject)), 'subscribe')
  const end = () => new Promise((resolve, reject) => {
    one.unsubscribe((err, done) => err ? reject(err) : resolve(done))
  })
  return { message, end: () => deadline(end(), 'unsubscribe') }
}

async function polled (shh, filter) {
  for (let i = 0; i < 600; i++) {
    const messages = await shh.getFilterMessages(filter)
    if (messages.length > 0) return messages
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error('filter: nothing came')
}

async function settings (shh) {
  assert.equal(await shh.getVersion(), '6.0')
  const info = await shh.getInfo()
  assert.deepEqual(Object.keys(info).sort(), ['maxMessageSize', 'memory', 'messages', 'minPow'])
  assert.equal(info.maxMessageSize, 1048576)
  assert.equal(await shh.setMaxMessageSize(1048576), true)
  assert.equal(await shh.setMinPoW(0.002), true)
  await assert.rejects(shh.setMinPoW(-1), /invalid PoW: -1\.000000/)
  await assert.rejects(shh.setMaxMessageSize(10485761), /message size too large \[10485761>10485760\]/)
  await assert.rejects(shh.markTrustedPeer('enode://nobody'), /does not contain node ID/)
}

async function keys (shh) {
  const pair = await shh.newKeyPair()
  assert.match(pair, /^[0-9a-f]{64}$/)
  assert.equal(await shh.hasKeyPair(pair), true)
  const secret = await shh.getPrivateKey(pair)
  const copy = await shh.addPrivateKey(secret)
  assert.notEqual(copy, pair)
  assert.equal(await shh.getPublicKey(copy), await shh.getPublicKey(pair))
  assert.equal(await shh.deleteKeyPair(copy), true)
  assert.equal(await shh.hasKeyPair(copy), false)
  await assert.rejects(shh.getPublicKey(copy), /invalid id/)

  const sym = await shh.newSymKey()
  const again = await shh.addSymKey(await shh.getSymKey(sym))
  assert.equal(await shh.getSymKey(again), await shh.getSymKey(sym))
  assert.equal(await shh.deleteSymKey(again), true)
  assert.equal(await shh.hasSymKey(again), false)
  await assert.rejects(shh.getSymKey(again), /non-existent key ID/)
  const named = await shh.generateSymKeyFromPassword('status')
  assert.equal(await shh.getSymKey(named), '0x36224048e42c49e5c59c57bba5024fbb8822d6b4ee6ac5fbefd8b77f5323ecc4')
}

// symmetric: posted over one way in, heard by a subscription and by a filter.
async function symmetric (poster, listener) {
  const symKeyID = await poster.newSymKey()
  const sig = await poster.newKeyPair()
  const signer = await poster.getPublicKey(sig)
  const subscribed = await subscription(listener, { symKeyID, sig: signer, topics: [topic] })
  const filter = await poster.newMessageFilter({ symKeyID, topics: [topic], minPow: 0.002, allowP2P: true })
  const hash = await poster.post({ symKeyID, sig, ttl: 20, topic, payload: text, powTime: 30, powTarget: 0.002 })
  assert.match(hash, /^0x[0-9a-f]{64}$/)

  const [message, ...more] = await polled(poster, filter)
  assert.equal(more.length, 0)
  assert.equal(message.hash, hash)
  assert.equal(message.sig, signer)
  assert.equal(message.topic, topic)
  assert.equal(message.payload, text)
  assert.equal(message.ttl, 20)
  assert.ok(message.pow >= 0.002)
  assert.ok(Math.abs(message.timestamp - Date.now() / 1000) < 60)
  assert.ok(!('recipientPublicKey' in message))
  assert.deepEqual(await deadline(subscribed.message, 'subscription'), message)

  assert.equal(await subscribed.end(), true)
  assert.equal(await poster.deleteMessageFilter(filter), true)
  await assert.rejects(poster.getFilterMessages(filter), /filter not found/)
}

async function asymmetric (poster, listener) {
  const privateKeyID = await listener.newKeyPair()
  const pubKey = await listener.getPublicKey(privateKeyID)
  const subscribed = await subscription(listener, { privateKeyID })
  const hash = await poster.post({ pubKey, ttl: 10, payload: text, padding: '0x00ff', powTime: 30, powTarget: 0.002 })
  const message = await deadline(subscribed.message, 'subscription')
  assert.equal(message.hash, hash)
  assert.equal(message.recipientPublicKey, pubKey)
  assert.equal(message.padding, '0x00ff')
  assert.equal(message.topic, '0x00000000')
  assert.ok(!('sig' in message))
}

async function refusals (shh) {
  const symKeyID = await shh.newSymKey()
  const good = { symKeyID, ttl: 10, topic, payload: text, powTime: 1, powTarget: 0.002 }
  await assert.rejects(shh.post({ ...good, symKeyID: undefined }), /specify either a symmetric or an asymmetric key/)
  await assert.rejects(shh.post({ ...good, topic: undefined }), /missing topic\(s\)/)
  await assert.rejects(shh.post({ ...good, powTarget: 0.001 }), /message rejected, PoW too low/)
  await assert.rejects(shh.post({ ...good, sig: 'nobody' }), /invalid id/)
  await assert.rejects(shh.newMessageFilter({ symKeyID: 'nobody', topics: [topic] }), /non-existent key ID/)
}

// raw checks what no package shows: the code of an error and the form of a reply.
async function raw () {
  const call = async (method, ...params) => (await fetch(httpURL, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 7, method, params })
  })).json()
  assert.deepEqual(await call('shh_getSymKey', 'x'), { jsonrpc: '2.0', id: 7, error: { code: -32000, message: 'non-existent key ID' } })
  assert.deepEqual(await call('shh_uninstallFilter', 'x'), { jsonrpc: '2.0', id: 7, result: null })
  assert.equal((await call('shh_subscribe', 'messages', {})).error.message, 'notifications not supported')
}

async function main () {
  const http = new Shh(httpURL)
  const ws = new Shh(wsURL)
  const clients = [http, ws]
  if (ipcPath) clients.push(new Shh(ipcPath, net))
  for (const shh of clients) {
    await settings(shh)
    await keys(shh)
    await refusals(shh)
  }
  await symmetric(http, ws)
  await symmetric(ws, ws)
  await asymmetric(http, ws)
  if (ipcPath) {
    await symmetric(clients[2], clients[2])
    await asymmetric(http, clients[2])
  }
  await raw()
  console.log('all as in go-ethereum')
}

main().then(() => process.exit(0), err => {
  console.error(err)
  process.exit(1)
})
