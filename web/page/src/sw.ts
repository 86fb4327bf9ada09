/**
 * The service worker: the page opens without a network, too. The network comes first, so that nobody sees an old
 * version; what was kept serves when it fails. Models are not its business: the package keeps those, checked.
 */
interface ExtendableEvent extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
interface Scope extends EventTarget {
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  registration: { scope: string };
}

(() => {
  const scope = self as unknown as Scope;
  // One origin may hold several pages.
  const CACHE = `page ${scope.registration.scope}`;

  /** All files of the page, which the build lists. */
  async function keepAll(): Promise<void> {
    const cache = await caches.open(CACHE);
    const list = await (await fetch('files.txt', { cache: 'no-cache' })).text();
    await cache.addAll(['./', ...list.trim().split('\n')]);
    await scope.skipWaiting();
  }

  async function answer(event: FetchEvent): Promise<Response> {
    const cache = await caches.open(CACHE);
    try {
      const response = await fetch(event.request);
      // Only what the build listed is renewed: addresses are without number.
      if (response.status === 200 && (await cache.match(event.request))) {
        event.waitUntil(cache.put(event.request, response.clone()));
      }
      return response;
    } catch (error) {
      const kept = await cache.match(event.request, { ignoreSearch: true });
      if (kept) return kept;
      throw error;
    }
  }

  scope.addEventListener('install', (event) => (event as ExtendableEvent).waitUntil(keepAll()));
  scope.addEventListener('activate', (event) => (event as ExtendableEvent).waitUntil(scope.clients.claim()));
  scope.addEventListener('fetch', (event) => {
    const { request } = event as FetchEvent;
    const { origin, pathname } = new URL(request.url);
    const ours = request.method === 'GET' && origin === location.origin && !pathname.endsWith('.safetensors');
    if (ours) (event as FetchEvent).respondWith(answer(event as FetchEvent));
  });
})();
