navigator.storage.getDirectory = () => Promise.reject(new DOMException('not here', 'SecurityError'));
