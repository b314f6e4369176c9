// Serves the app's files at http://127.0.0.1:5173, as any server of files would.
//
//   node serve.mjs
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'

const self = new URL('http://127.0.0.1:5173')
const files = {
  '/': ['index.html', 'text/html'],
  '/callback': ['index.html', 'text/html'],
  '/app.mjs': ['app.mjs', 'text/javascript'],
  '/oidc-client-ts.min.js': ['node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js', 'text/javascript'],
}
// Scripts of this app and of nobody else; requests to it and to the provider.
const policy = "default-src 'none'; script-src 'self'; img-src data:; connect-src 'self' http://localhost:8080"

createServer(async (req, res) => {
  const file = files[new URL(req.url, self).pathname]
  if (!file) return res.writeHead(404).end()
  res.setHeader('content-type', file[1])
  res.setHeader('content-security-policy', policy)
  res.setHeader('referrer-policy', 'no-referrer')
  res.end(await readFile(new URL(file[0], import.meta.url)))
}).listen(self.port, self.hostname, () => console.log('listening at', self.origin))
