// Loaded into the suite's Node process: the suite's own servers name no address, which Node takes
// for "every interface". They are to be reached from this machine alone. `listen` cannot be given
// a host, because it then looks the host up and the suite reads its port before that is done.
const { Server } = require('node:net');

const setUp = Server.prototype._listen2;

Server.prototype._listen2 = function (address, port, addressType, backlog, fd, flags) {
  const everywhere = !address && typeof fd !== 'number';
  return setUp.call(this, everywhere ? '127.0.0.1' : address, port, addressType, backlog, fd, flags);
};
