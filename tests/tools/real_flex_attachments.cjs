// What the real file rules and the real reducer of the message input say. 1.x speaks of channels and one file, 2.x of
// conversations and several.
const SID = "CH1";

exports.attachments = (flex) => {
  // [type fits, size fits] of each file under each configuration.
  function judge(questions) {
    const rules = flex.only("isValidFileType=", "ALLOWED_FILE_EXTENSIONS=");
    if ("isValidFileSize" in rules) {
      const { ChatManager } = flex.only("ChatManager=void 0");
      return questions.map(({ config, files }) => {
        ChatManager.config = { fileAttachment: config };
        return files.map((file) => [rules.isValidFileType(file), rules.isValidFileSize(file)]);
      });
    }
    const { ChatManager } = flex.only("ChatManager=void 0", "getFileAttachmentConfigFromConversationSid=");
    return questions.map(({ config, files }) => {
      ChatManager.getFileAttachmentConfigFromConversationSid = () => config;
      // 2.x heeds the configured size only where the chat's SDK gives a limit of its own; how it compares the two with
      // a file stands in its actions, not here.
      const source = { sid: SID, limits: { mediaAttachmentSizeLimitInMb: 1024 } };
      const { fileSizeLimit } = rules.getDerivedFileLimits({ source });
      return files.map((file) => [rules.isValidFileType(file, SID), !(file.size > fileSizeLimit)]);
    });
  }

  // Text and files in the input after each step of some sequences, each from an empty input: ["text", text],
  // ["attach", file], ["detach", file].
  function input(sequences) {
    const many = flex.all('ACTION_INIT_CONVERSATION="').length > 0;
    const { reduce, Actions } = flex.only(many ? "ACTION_ATTACH_CONVERSATION_FILES=" : "ACTION_ATTACH_CHANNEL_FILES=");
    const started = many
      ? flex.only('ACTION_INIT_CONVERSATION="').ACTION_INIT_CONVERSATION
      : flex.only('ACTION_INIT_CHANNEL="').ACTION_INIT_CHANNEL;
    let state;
    Actions.dispatcher = (action) => (state = reduce(state, action));
    const chat = { source: { sid: SID } };
    const does = {
      text: (text) => Actions.setInputText(chat, text),
      attach: (file) => (many ? Actions.attachFiles(chat, [file]) : Actions.attachFile(chat, file)),
      detach: (file) => Actions.detachFile(chat, file),
    };
    return sequences.map((steps) => {
      state = reduce(undefined, { type: started, payload: {}, meta: { channelSid: SID, conversationSid: SID } });
      return steps.map(([kind, value]) => {
        does[kind](value);
        return [state[SID].inputText, state[SID].attachedFiles];
      });
    });
  }

  return { judge, input };
};
