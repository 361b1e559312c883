// What the scripts for the quickstart share: whom they ask for, and how an answer tells its cell.
//
// Everything has a default for config/examples/quickstart and can be set in the environment: TARGET, HOST, GRID_PATH (of
// a service whose endpoints say their cell), PINNED (tenant=cell).
import http from 'k6/http';
import { sleep } from 'k6';

export const TARGET = __ENV.TARGET || 'http://127.0.0.1:8080';
const HOST = __ENV.HOST || '';
export const PATH = __ENV.GRID_PATH || '/api/checkout/k6';
export const [PINNED, PINNED_CELL] = (__ENV.PINNED || 'acme=eu-2').split('=');
// Twenty, of which one is pinned.
export const TENANTS = [PINNED, ...Array.from({ length: 19 }, (_, i) => `k6-tenant-${i + 1}`)];

export function ask(tenant, path = PATH) {
  const headers = { 'x-tenant-id': tenant };
  if (HOST) headers.Host = HOST;
  return http.get(TARGET + path, { headers, responseType: 'text', timeout: '10s' });
}

// `x-served-by: CELL/SERVICE/ADDRESS`, and the same in the body.
export function cellOf(response) {
  const cell = (response.headers['X-Served-By'] || '').split('/')[0];
  let body = {};
  try {
    body = response.json();
  } catch (_) {
    return undefined;
  }
  return cell && body.cell === cell ? cell : undefined;
}

// k6 writes header names in Go's canonical form, `Ratelimit-Policy`.
export function header(response, name) {
  const wanted = name.toLowerCase();
  const found = Object.keys(response.headers).find((key) => key.toLowerCase() === wanted);
  return found === undefined ? undefined : response.headers[found];
}

// k6's sleep counts from now; this keeps the pace whatever the request took.
let due = 0;
export function wait(milliseconds) {
  const now = Date.now();
  due = Math.max(due + milliseconds, now);
  sleep((due - now) / 1000);
}
