/**
 * The service worker: the page opens without a network, too. The server comes first, past the browser's own cache, so that nobody gets
 * an old version, or parts of two: hosts let files be kept for minutes. What was kept here serves where the server cannot be reached or
 * has a fault. The build writes its hash and its files here (web/precache.mjs), so that each build is another worker, with a cache of its
 * own that is complete before it serves. Models are left to the package, which keeps and checks them.
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
/** Of this build; written by it. */
declare const BUILD: string;
declare const FILES: string[];

(() => {
  const scope = self as unknown as Scope;
  // One origin may hold several pages.
  const OURS = `page ${scope.registration.scope} `;
  const CACHE = OURS + BUILD;

  async function keepAll(): Promise<void> {
    const cache = await caches.open(CACHE);
    await cache.addAll(['./', ...FILES].map((file) => new Request(file, { cache: 'no-cache' })));
    await scope.skipWaiting();
  }

  async function takeOver(): Promise<void> {
    const old = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await scope.clients.claim();
  }

  async function answer(request: Request): Promise<Response> {
    const kept = async () => (await caches.open(CACHE)).match(request, { ignoreSearch: true });
    try {
      const response = await fetch(request, { cache: 'no-cache' });
      return response.status < 500 ? response : ((await kept()) ?? response);
    } catch (error) {
      const own = await kept();
      if (own) return own;
      throw error;
    }
  }

  scope.addEventListener('install', (event) => (event as ExtendableEvent).waitUntil(keepAll()));
  scope.addEventListener('activate', (event) => (event as ExtendableEvent).waitUntil(takeOver()));
  scope.addEventListener('fetch', (event) => {
    const { request } = event as FetchEvent;
    const { origin, pathname } = new URL(request.url);
    const ours = request.method === 'GET' && origin === location.origin && !pathname.endsWith('.safetensors');
    if (ours) (event as FetchEvent).respondWith(answer(request));
  });
})();
