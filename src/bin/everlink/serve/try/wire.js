// The link as it is drawn between the two sides.

const wire = document.getElementById('wire');
const still = matchMedia('(prefers-reduced-motion: reduce)');
const narrow = matchMedia('(max-width: 820px)');

/** The most dots on their way at a time. */
const MOST = 24;

/** Draws a message on its way, to where the link is cut if it is; `back` is from the second side to the first. */
export function pulse(back) {
    if (still.matches || document.hidden || wire.querySelectorAll('.pulse').length >= MOST) return;
    const dot = document.createElement('i');
    dot.className = 'pulse';
    dot.style.setProperty('--from', back ? 'var(--b)' : 'var(--a)');
    wire.append(dot);
    const whole = document.body.dataset.link !== 'cut';
    const way = [back ? '100%' : '0%', whole === back ? '0%' : '100%'];
    if (!whole) way[1] = back ? '82%' : '18%';
    const frames = { [narrow.matches ? 'top' : 'left']: way, opacity: whole ? [1, 1] : [1, 0] };
    dot.animate(frames, { duration: whole ? 420 : 260, easing: 'cubic-bezier(.4, 0, .6, 1)' })
        .finished.finally(() => dot.remove());
}
