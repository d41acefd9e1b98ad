// One message by nodemailer; options as JSON in the first argument. An error ends it with its text.
const nodemailer = require(process.argv[2]);
const { transport, message } = JSON.parse(process.argv[3]);
nodemailer.createTransport(transport).sendMail(message, (error) => {
  if (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
});
