// The page over a room that is not there, built and served with the policy that the server gives it.
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** As `everlink serve` says it. */
function policy() {
    const source = readFileSync(join(here, '../../../src/bin/everlink/serve/tutorial_page.rs'), 'utf8');
    return /const POLICY: &str = "([^"]*)"/.exec(source)[1].replace(/\\\n\s*/g, '');
}

const types = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.html': 'text/html' };

/** Builds it into a directory; gives the address, and `end`. */
export async function stage(root) {
    const built = spawnSync('node', [join(here, '../../pages/build.mjs'), join(root, 'tutorial'), join(here, 'scene.ts')], { stdio: 'inherit' });
    if (built.status !== 0) throw new Error('the page was not built');
    const rules = policy();
    const server = createServer(async (request, response) => {
        const { pathname } = new URL(request.url, 'http://x');
        const path = pathname === '/tutorial' ? '/tutorial/index.html' : pathname;
        try {
            const body = await readFile(join(root, path));
            response.writeHead(200, { 'content-type': types[extname(path)] ?? 'application/octet-stream', 'content-security-policy': rules }).end(body);
        } catch {
            response.writeHead(404).end();
        }
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { url: `http://127.0.0.1:${server.address().port}/tutorial`, end: () => new Promise((resolve) => (server.close(resolve), server.closeAllConnections())) };
}
