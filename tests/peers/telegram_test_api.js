// telegram-test-api on the port that the environment names.
const TelegramServer = require('telegram-test-api');

const server = new TelegramServer({
  port: Number(process.env.PORT), host: '127.0.0.1', storage: 'RAM', storeTimeout: 3600,
});
server.start().then(() => console.log('ready'));
