#!/usr/bin/env node
// Opens files in yaml-language-server as an editor would, and prints what it says of them: a JSON object of lists of "line: message".
//
//   diagnose.mjs FILE...
//
// Nothing is fetched: a schema counts only if a file names it.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(import.meta.url);
const { createMessageConnection, StreamMessageReader, StreamMessageWriter } = require('vscode-jsonrpc/node');

const SETTINGS = {
  yaml: { validate: true, hover: true, schemaStore: { enable: false }, kubernetesCRDStore: { enable: false } },
};
const LONGEST_MS = 60_000;

const server = spawn(process.execPath, [require.resolve('yaml-language-server/bin/yaml-language-server'), '--stdio'], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const connection = createMessageConnection(new StreamMessageReader(server.stdout), new StreamMessageWriter(server.stdin));
setTimeout(() => end(new Error(`no answer after ${LONGEST_MS / 1000} s`)), LONGEST_MS).unref();

function end(error) {
  if (error) console.error(`diagnose: ${error.message}`);
  server.kill();
  process.exit(error ? 1 : 0);
}

const waiting = new Map();
connection.onNotification('textDocument/publishDiagnostics', ({ uri, diagnostics }) => {
  waiting.get(uri)?.(diagnostics.map(({ range, message }) => `${range.start.line + 1}: ${message}`));
});
connection.onRequest('workspace/configuration', ({ items }) => items.map(({ section }) => SETTINGS[section] ?? null));
connection.onRequest('client/registerCapability', () => null);
server.on('exit', (code) => end(new Error(`the server ended with ${code}`)));
connection.listen();

const said = {};
try {
  const capabilities = { textDocument: { publishDiagnostics: {} }, workspace: { configuration: true } };
  await connection.sendRequest('initialize', { processId: process.pid, rootUri: null, workspaceFolders: null, capabilities });
  await connection.sendNotification('initialized', {});
  // It takes its settings from the answer to its own question; only what is opened after that is judged by them.
  await connection.sendNotification('workspace/didChangeConfiguration', { settings: SETTINGS });
  await new Promise((done) => setTimeout(done, 500));
  for (const file of process.argv.slice(2)) {
    const uri = pathToFileURL(resolve(file)).href;
    const answer = new Promise((done) => waiting.set(uri, done));
    const text = readFileSync(file, 'utf8');
    await connection.sendNotification('textDocument/didOpen', { textDocument: { uri, languageId: 'yaml', version: 1, text } });
    said[file] = await answer;
  }
  console.log(JSON.stringify(said, null, 1));
  server.removeAllListeners('exit');
  end();
} catch (error) {
  end(error);
}
