// A tutorial that means harm. Whatever of it runs sets `globalThis.hacked`.
import type { Outline, StepPage } from '../../src/tutorial/types.js';

const steps = 2;
const name = (index: number) => `<img src=x onerror="globalThis.hacked=${index}"><script>globalThis.hacked=1</script>`;

const markdown = `
<script>globalThis.hacked = 2</script>
<img src=x onerror="globalThis.hacked = 3">
<img src="https://elsewhere.example/spy.png"> 

![spy](https://elsewhere.example/spy.png "t") ![inside](javascript:globalThis.hacked=39) ![mine](art/mine.svg) ![q](x" onerror="globalThis.hacked=4)
<img src="//elsewhere.example/spy.png" srcset="https://elsewhere.example/spy2.png 2x">

[one](javascript:globalThis.hacked=5) [two](JaVaScRiPt:globalThis.hacked=6) [three](&#106;avascript:globalThis.hacked=7) [four](data:text/html,<script>1</script>) [five](vbscript:x)
[six](  javascript:globalThis.hacked=8) <a href="java
script:globalThis.hacked=9">seven</a> <a href="https://good.example/" target="_top" onclick="globalThis.hacked=10">eight</a>
<a href="/tutorial#00000000-0000-4000-8000-000000000000" id="dock" name="article">nine</a>

<svg onload="globalThis.hacked=11"><script>globalThis.hacked=12</script><a xlink:href="javascript:globalThis.hacked=13">x</a></svg>
<iframe src="https://elsewhere.example/"></iframe><iframe srcdoc="<script>parent.hacked=14</script>"></iframe>
<form action="https://elsewhere.example/"><input name="body" autofocus onfocus="globalThis.hacked=15"><button>go</button></form>
<style>body { display: none }</style><link rel="stylesheet" href="https://elsewhere.example/x.css"><base href="https://elsewhere.example/">
<meta http-equiv="refresh" content="0; url=https://elsewhere.example/"><object data="https://elsewhere.example/"></object><embed src="https://elsewhere.example/">
<video src="https://elsewhere.example/v" autoplay></video><details open ontoggle="globalThis.hacked=16"><summary>s</summary></details>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=globalThis.hacked=17&gt;"></table></mtext></math>
<form><math><mtext></form><form><mglyph><style></math><img src onerror=globalThis.hacked=18>
<div style="position:fixed;inset:0;background:red" class="dock card" hidden>over all</div>
<template><script>globalThis.hacked=19</script></template><dialog open>hello</dialog><portal src="https://elsewhere.example/"></portal>

\`\`\`html"><script>globalThis.hacked=21</script>
</code></pre><script>globalThis.hacked=22</script><img src=x onerror=globalThis.hacked=23>
\`\`\`
`;

const diff = '@@ -1,2 +1,2 @@ <img src=x onerror=globalThis.hacked=24>\n-</td><script>globalThis.hacked=25</script>\n+<span class="hljs-x" onclick="globalThis.hacked=26">&lt;img src=x onerror=globalThis.hacked=27&gt;\n';

export const hostile = {
    outline: async (): Promise<Outline> => ({
        title: name(30),
        steps: Array.from({ length: steps }, (_, index) => ({ index, id: name(31), title: name(32), type: 'action', commitHash: 'x', section: name(33) })),
    }),
    step: async (index: number): Promise<StepPage> => {
        const file = { binary: false, tooLarge: false, additions: 1, deletions: 1 };
        return {
            index, id: name(34), title: name(35), type: 'action', commitHash: 'x', markdown,
            files: [
                { ...file, path: `src/${name(36)}/../../../etc/passwd.html`, status: 'renamed', oldPath: name(37), diff },
                { ...file, path: `${'a'.repeat(3000)}.js`, status: 'added', diff: `@@ -0,0 +1 @@\n+${'x'.repeat(200_000)}\n` },
                { ...file, path: 'constructor', status: '__proto__' as 'added', diff: '@@ -9999999999999999999,1 +1 @@\n garbage\nnone\n@@ @@\n' },
            ],
        };
    },
    file: async (_: number, path: string) => ({ path, text: '<svg xmlns="http://www.w3.org/2000/svg" onload="globalThis.hacked=38"/>' }),
};
