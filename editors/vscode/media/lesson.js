// The page of the lesson: shows what the extension sends, and tells it what was clicked.
(() => {
    const code = acquireVsCodeApi();
    const head = document.getElementById('head');
    const body = document.getElementById('body');
    let key;
    let shown;

    window.addEventListener('message', ({ data }) => {
        if (typeof data?.head !== 'string' || typeof data.body !== 'string') return;
        // A button that is focused stays so, if it is still there.
        const focused = document.activeElement?.dataset?.command;
        head.innerHTML = data.head;
        if (focused) head.querySelector(`button[data-command="${CSS.escape(focused)}"]:not(:disabled)`)?.focus();
        if (data.body !== shown) body.innerHTML = data.body || '<p class="note">Connecting…</p>';
        shown = data.body;
        if (data.key && data.key !== key) window.scrollTo(0, 0);
        key = data.key;
    });

    document.addEventListener('click', (event) => {
        const button = event.target.closest('button');
        if (button?.dataset.command) code.postMessage({ command: button.dataset.command });
        else if (button?.dataset.file) code.postMessage({ file: button.dataset.file });
    });

    code.setState({});
    code.postMessage({ ready: true });
})();
